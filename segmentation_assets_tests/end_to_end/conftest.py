"""The command line as a person uses it, on small worlds and small shops; a finished HOME is made once and copied."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from segmentation_assets.cli import app

COMMAND = Path(sys.executable).with_name("segmentation")
CUSTOMERS = 400
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

#: A shop somebody types in ten minutes: three tables in files of their own.
SHOP = {
    "source.toml": 'title = "A corner shop"\ncurrency = "EUR"\nas_of = 2024-06-30\n',
    "customers.sql": (
        "select id as customer_id, town as city, joined as signed_up_at, agrees as email_consent\n"
        "from read_csv('people.csv', header = true, all_varchar = true)\n"
    ),
    "contacts.sql": (
        "select id as customer_id, mail as email\nfrom read_csv('people.csv', header = true, all_varchar = true)\n"
    ),
    "orders.sql": (
        "select no as order_id, who as customer_id, day as ordered_at, state as status\n"
        "from read_csv('sales.csv', header = true, all_varchar = true)\n"
    ),
    "order_items.sql": (
        "select no || '-1' as order_item_id, no as order_id, 1 as quantity, money as line_amount\n"
        "from read_csv('sales.csv', header = true, all_varchar = true)\n"
    ),
}
PEOPLE_HEADER = "id,town,joined,agrees,mail\n"
SALES_HEADER = "no,who,day,state,money\n"


@pytest.fixture(scope="session", autouse=True)
def _without_a_key() -> Iterator[None]:
    """No test asks a model that somebody pays for, whatever is set where the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY", raising=False)
        yield


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Everything printed, on one line with single spaces."""
        return " ".join((self.out + " " + self.err).split())


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    own = ("SEGMENTATION_", "DAGSTER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, "COLUMNS": "200", "DAGSTER_DISABLE_TELEMETRY": "1", **(extra or {})}


class Cli:
    """`segmentation` in a process of its own, from a folder that is not the project's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: object, env: Mapping[str, str] | None = None, timeout: float = 600) -> Ended:
        """Run to the end."""
        done = subprocess.run(
            [str(COMMAND), *map(str, words)],
            cwd=self.folder,
            env=_environment(env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *words: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Begin, and let the test decide how it ends."""
        return subprocess.Popen(
            [str(COMMAND), *map(str, words)],
            cwd=self.folder,
            env=_environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Cli(folder)


Quick = Callable[..., Ended]


@contextmanager
def _in_this_process() -> Iterator[Quick]:
    before = dict(os.environ)
    for name in before:
        if name.startswith(("SEGMENTATION_", "DAGSTER_")):
            del os.environ[name]
    os.environ["COLUMNS"] = "200"

    def call(*words: object, env: Mapping[str, str] | None = None) -> Ended:
        result = CliRunner().invoke(app, [str(word) for word in words], env=dict(env or {}))
        for name in ("SEGMENTATION_HOME", "DAGSTER_HOME"):
            os.environ.pop(name, None)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    try:
        yield call
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def quick() -> Iterator[Quick]:
    """The same command in this process: what it answers without seconds of imports. A traceback fails the test."""
    with _in_this_process() as call:
        yield call


Once = Callable[[str, Callable[[Path], None]], Path]


def _finish(folder: Path, *words: object, env: Mapping[str, str] | None = None) -> None:
    ended = Cli(folder)("run", "--home", folder / "home", *words, env=env)
    now = time.time()
    _keep(folder, ended)
    took_lock = (folder / "home" / "run.json").stat().st_mtime  # it is written then
    (folder / "seconds.txt").write_text(str(now - took_lock), encoding="utf-8")


def _finish_here(folder: Path, *words: object, env: Mapping[str, str] | None = None) -> None:
    with _in_this_process() as call:
        _keep(folder, call("run", "--home", folder / "home", *words, env=env))


def _keep(folder: Path, ended: Ended) -> None:
    (folder / "stdout.txt").write_text(ended.out, encoding="utf-8")
    (folder / "stderr.txt").write_text(ended.err, encoding="utf-8")
    (folder / "code.txt").write_text(str(ended.code), encoding="utf-8")
    assert ended.code == 0, ended.words


@pytest.fixture(scope="session")
def finished(once: Once) -> Path:
    """A folder with the HOME of a finished run (`home`) and what the run printed. Read it; write to a copy.

    For how many seconds the run had the lock is in `seconds.txt`.
    """
    return once("finished", lambda folder: _finish(folder, "--customers", CUSTOMERS))


@pytest.fixture(scope="session")
def grown(once: Once, finished: Path) -> Path:
    """The finished HOME after 70 more customers were assigned to its segments (`home`). Read it; write to a copy."""

    def fill(folder: Path) -> None:
        shutil.copytree(finished / "home", folder / "home")
        _finish_here(folder, "--job", "assign", "--customers", CUSTOMERS + 70)

    return once("grown", fill)


Fill = Callable[..., Callable[[Path], None]]


@pytest.fixture(scope="session")
def quick_once() -> Fill:
    """What `once` is given to make the HOME of a run with these words, in this process."""

    def fill(*words: object, env: Mapping[str, str] | None = None) -> Callable[[Path], None]:
        return lambda folder: _finish_here(folder, *words, env=env)

    return fill


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished HOME, to do with as the test likes."""
    return Path(shutil.copytree(finished / "home", tmp_path / "home"))


@pytest.fixture(scope="session")
def public(once: Once) -> Callable[..., Path]:
    """The folder of a finished run on a public source; skipped with the reason where the files are absent.

    That of `sales_data_sample` is a process of its own; the others are in this process, without seconds of imports.
    """

    def make(source: str, *words: object, name: str = "") -> Path:
        if not DATA.is_dir():
            pytest.skip(f"The public data files are not there ({DATA}).")
        label, finish = f"public-{name or source}", _finish if source == "sales_data_sample" else _finish_here
        return once(label, lambda folder: finish(folder, "--source", source, "--data", DATA, *words))

    return make


MakeShop = Callable[..., Path]


def _write_shop(
    place: Path,
    *,
    people: list[str] | None = None,
    sales: list[str] | None = None,
    files: Mapping[str, str] | None = None,
) -> Path:
    if people is None:
        people = [f"p{n},Bern,2023-01-{1 + n % 28:02d},true,p{n}@example.com" for n in range(40)]
    if sales is None:
        sales = [f"{n},p{n % 30},2024-{1 + n % 6:02d}-{1 + n % 28:02d},completed,{5 + n % 17}.50" for n in range(120)]
    content = {
        **SHOP,
        "people.csv": PEOPLE_HEADER + "".join(f"{row}\n" for row in people),
        "sales.csv": SALES_HEADER + "".join(f"{row}\n" for row in sales),
        **(files or {}),
    }
    place.mkdir()
    for name, text in content.items():
        (place / name).write_text(text, encoding="utf-8")
    return place


@pytest.fixture(scope="session")
def make_shop() -> MakeShop:
    """Write the corner shop, or one with other rows or files, to a folder."""
    return _write_shop


@pytest.fixture
def shop(tmp_path: Path) -> MakeShop:
    """The corner shop, or one with other rows or files, in a folder of this test."""
    return lambda **changes: _write_shop(tmp_path / "shop", **changes)


@dataclass(frozen=True)
class Reader:
    """Questions to a database file, each in a process-wide connection that is closed at once."""

    def __call__(self, path: Path, query: str) -> list[tuple[object, ...]]:
        with duckdb.connect(str(path), read_only=True) as con:
            return con.execute(query).fetchall()

    def one(self, path: Path, query: str) -> object:
        """The only value."""
        return self(path, query)[0][0]

    def tables(self, path: Path) -> list[tuple[str, str]]:
        """Schema and name of every table."""
        with duckdb.connect(str(path), read_only=True) as con:
            return [
                (str(schema), str(name))
                for schema, name in con.execute(
                    "select schema_name, table_name from duckdb_tables() where not internal order by all"
                ).fetchall()
            ]

    def fingerprints(self, path: Path) -> dict[str, tuple[int, str]]:
        """Rows and an order-independent hash of every table."""
        found = {}
        with duckdb.connect(str(path), read_only=True) as con:
            for schema, name in con.execute(
                "select schema_name, table_name from duckdb_tables() where not internal order by all"
            ).fetchall():
                rows, digest = con.execute(
                    "select count(*), md5(coalesce(string_agg(line, chr(10) order by line), '')) "
                    f'from (select t::varchar as line from "{schema}"."{name}" as t)'
                ).fetchall()[0]
                found[f"{schema}.{name}"] = (int(rows), str(digest))
        return found


@pytest.fixture(scope="session")
def read() -> Reader:
    return Reader()


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], bool], str, float], None]:
    """Wait until something is so; the test fails with the words when it does not come."""

    def wait(is_so: Callable[[], bool], words: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, f"waited {seconds:g} s for: {words}"
            time.sleep(0.05)

    return wait
