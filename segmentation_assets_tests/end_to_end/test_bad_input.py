"""Bad input ends in one clear sentence and a non-zero exit, or in recorded rejections; what was there stays intact."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from segmentation_assets.orchestration.run_lock import hold_run_lock
from segmentation_assets.settings import Home

ONLY_RAW = ("--select", "group:raw")


@pytest.fixture(scope="module")
def loaded(once: Any, make_shop: Any, quick_once: Any) -> Path:
    """A folder with the corner shop (`shop`) and the HOME it is loaded into (`home`); put back what you change."""

    def fill(folder: Path) -> None:
        make_shop(folder / "shop")
        quick_once("--source", folder / "shop", *ONLY_RAW)(folder)

    return Path(once(f"shop-{os.environ.get('PYTEST_XDIST_WORKER', '')}", fill))


@pytest.fixture
def standing(loaded: Path, read: Any) -> Iterator[tuple[Path, Path, dict[str, tuple[int, str]]]]:
    """A shop whose raw tables are loaded: its folder, its HOME, and what the warehouse holds."""
    folder, home = loaded / "shop", loaded / "home"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    yield folder, home, read.fingerprints(home / "warehouse.duckdb")
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


BROKEN: dict[str, tuple[dict[str, str | None], str]] = {
    "missing_file": (
        {"sales.csv": None},
        "{folder}/orders.sql, line 2: there is no file sales.csv in {folder}.",
    ),
    "unknown_table": (
        {"custmers.sql": "select 1 as customer_id\n"},
        "{folder}/custmers.sql: custmers is not a table of the raw contract. Did you mean customers?",
    ),
    "wrong_column": (
        {"customers.sql": "select id as customer_id,\n  town as citty\nfrom read_csv('people.csv', header = true)\n"},
        "{folder}/customers.sql, line 2: the contract's table customers has no column citty. Did you mean city?",
    ),
    "syntax_error": (
        {"customers.sql": "select id as customer_id,\nfrom\nread_csv('people.csv'\n"},
        "{folder}/customers.sql, line ",
    ),
    "column_not_in_file": (
        {"customers.sql": "select id as customer_id,\n  village as city\nfrom read_csv('people.csv', header = true)\n"},
        "{folder}/customers.sql, line 2: ",
    ),
    "required_table_absent": (
        {"order_items.sql": None},
        "The source folder {folder} gives neither orders with order_items nor customer_attributes, so there is "
        "nothing to segment by. Add order_items",
    ),
    "required_column_absent": (
        {"customers.sql": "select town as city from read_csv('people.csv', header = true, all_varchar = true)\n"},
        "{folder}/customers.sql: there is no column customer_id, which customers requires",
    ),
    "empty_customers": (
        {"people.csv": "id,town,joined,agrees,mail\n"},
        "{folder}/customers.sql: customers has no rows, so there is nobody to segment.",
    ),
    "no_description": ({"source.toml": None}, "The source folder {folder} has no source.toml. Add one"),
    "typo_in_description": (
        {"source.toml": 'titel = "A shop"\ncurrency = "EUR"\n'},
        "{folder}/source.toml: unknown key titel. Did you mean title?",
    ),
    "description_is_no_toml": ({"source.toml": "title = A shop\n"}, "{folder}/source.toml: not valid TOML"),
    "unknown_axis_feature": (
        {"source.toml": 'title = "A shop"\ncurrency = "EUR"\n[axes.stage]\nfeaturs = ["recency_days"]\n'},
        "segments.stage.featurs is not a setting. Did you mean features?",
    ),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_source_is_one_sentence_and_changes_nothing(
    case: str, standing: tuple[Path, Path, dict[str, tuple[int, str]]], quick: Any, read: Any
) -> None:
    folder, home, before = standing
    changes, told = BROKEN[case]
    for name, text in changes.items():
        (folder / name).unlink(missing_ok=True)
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    ended = quick("run", "--source", folder, "--home", home, *ONLY_RAW)
    assert ended.code in (1, 2)
    assert told.format(folder=folder) in ended.words
    assert "Traceback" not in ended.words
    assert read.fingerprints(home / "warehouse.duckdb") == before
    assert not (home / "staging").exists()


def test_a_file_in_cp1252_that_is_not_declared_says_how_to_declare_it(
    standing: tuple[Path, Path, dict[str, tuple[int, str]]], quick: Any, read: Any
) -> None:
    folder, home, before = standing
    text = "id,town,joined,agrees,mail\np1,Zürich,2023-01-01,true,p1@example.com\n"
    (folder / "people.csv").write_bytes(text.encode("cp1252"))
    ended = quick("run", "--source", folder, "--home", home, *ONLY_RAW)
    assert ended.code == 1
    assert (
        'it is not UTF-8. Declare its encoding in source.toml: [files] "NAME" = {encoding = "cp1252"}.' in ended.words
    )
    assert read.fingerprints(home / "warehouse.duckdb") == before
    with (folder / "source.toml").open("a", encoding="utf-8") as description:
        description.write('[files]\n"people.csv" = { encoding = "cp1252" }\n')
    ended = quick("run", "--source", folder, "--home", home, *ONLY_RAW)
    assert ended.code == 0, ended.words
    assert read.one(home / "warehouse.duckdb", "select city from raw.customers") == "Zürich"


def test_another_source_into_the_same_home_is_refused_with_the_way_out(
    standing: tuple[Path, Path, dict[str, tuple[int, str]]], quick: Any, read: Any
) -> None:
    folder, home, before = standing
    ended = quick("run", "--source", "cdnow", "--home", home)
    assert ended.code == 2
    assert f"{home} holds the source '{folder}', and 'cdnow' was asked for." in ended.words
    assert "--home FOLDER" in ended.words
    assert read.fingerprints(home / "warehouse.duckdb") == before
    assert json.loads((home / "run_settings.json").read_text(encoding="utf-8"))["source"]["name"] == str(folder)


def test_a_later_run_of_the_same_home_needs_no_source(
    standing: tuple[Path, Path, dict[str, tuple[int, str]]], quick: Any
) -> None:
    _, home, _ = standing
    ended = quick("run", "--home", home, *ONLY_RAW)
    assert ended.code == 0, ended.words
    assert "published copy" in ended.words


def test_a_mistyped_source_does_not_claim_the_home(quick: Any, shop: Any, tmp_path: Path) -> None:
    folder, home = shop(), tmp_path / "home"
    wrong = quick("run", "--source", "cdnaw", "--home", home)
    assert wrong.code == 2
    assert "There is no source 'cdnaw'" in wrong.words
    assert "Did you mean cdnow?" in wrong.words
    unread = quick("run", "--source", "cdnow", "--data", tmp_path / "nowhere", "--home", home, *ONLY_RAW)
    assert unread.code == 1
    assert f"The data folder {tmp_path / 'nowhere'} does not exist." in unread.words
    right = quick("run", "--source", folder, "--home", home, *ONLY_RAW)
    assert right.code == 0, right.words


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--custommers", "5"), "No such option: --custommers"),
        (("--customers", "-5"), "synthetic.customers must be greater than or equal to 1 (given: -5)."),
        (("--customers", "many"), "Invalid value for '--customers'"),
        (("--seed", "-1"), "seed must be greater than or equal to 0 (given: -1)."),
        (("--input", "campaign"), "--input 'campaign' is not ALIAS=FILE"),
    ],
)
def test_a_wrong_flag_is_named(words: tuple[str, ...], told: str, quick: Any, tmp_path: Path) -> None:
    ended = quick("run", *words, "--home", tmp_path / "home")
    assert ended.code == 2
    assert told in ended.words.replace("│", "")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SEGMENTATION_SYNTHETIC__CUSTOMRS", "5", "synthetic.customrs is not a setting. Did you mean customers?"),
        ("SEGMENTATION_SEEED", "5", "seeed is not a setting. Did you mean seed?"),
        ("SEGMENTATION_ENGINE__THREADS", "two", "engine.threads must be a valid integer"),
        (
            "SEGMENTATION_SETTINGS",
            "/nowhere/segmentation.toml",
            "names /nowhere/segmentation.toml, and there is no such",
        ),
    ],
)
def test_a_typo_in_the_environment_is_named(variable: str, value: str, told: str, quick: Any, tmp_path: Path) -> None:
    ended = quick("run", "--home", tmp_path / "home", env={variable: value})
    assert ended.code == 2
    assert told in ended.words
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[campaigns]\ndiscout_share = 0.1\n", "In own.toml: campaigns.discout_share is not a setting. Did you mean"),
        ("[synthetic]\ncustomers = 0\n", "In own.toml: synthetic.customers must be greater than or equal to 1"),
        ("seed = \n", "own.toml cannot be read: "),
    ],
)
def test_a_typo_in_the_settings_file_is_named(text: str, told: str, quick: Any, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text, encoding="utf-8")
    ended = quick("run", "--home", tmp_path / "home", env={"SEGMENTATION_SETTINGS": str(file)})
    assert ended.code == 2
    assert told in ended.words


def test_a_home_that_is_a_file_is_said(quick: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    ended = quick("run", "--home", tmp_path / "file")
    assert ended.code == 2
    assert f"HOME {tmp_path / 'file'} cannot be made" in ended.words


# --- what is odd and still a source: kept, or rejected on record ---------------------------------------------------


@pytest.fixture(scope="module")
def odd_ids() -> list[str]:
    return ["O'Hara", 'say "hi"', "Ж-ключ-鍵-🔑", "x" * 300, "a;b--c", "semi%20colon", "comma here", "NULL", "[red]"]


@pytest.mark.slow
def test_a_messy_shop_is_cleaned_and_every_row_is_accounted_for(
    quick: Any, shop: Any, read: Any, tmp_path: Path, odd_ids: list[str]
) -> None:
    """10,000 rows of dirt, an e-mail column of nulls, odd ids, impossible dates and cp1252, all in one."""
    people = [f'"{name.replace(chr(34), chr(34) * 2)}",Zürich,2023-05-05,true,' for name in odd_ids[:2] + odd_ids[3:]]
    people += [f"p{n},Bern,2023-01-{1 + n % 28:02d},true," for n in range(60)]
    people += ["old,Bern,1850-01-01,true,", "late,Bern,2031-01-01,true,", "p1,Bern,2023-01-01,true,", ",Bern,,,"]
    sales = [f"{n},p{n % 50},2024-{1 + n % 6:02d}-{1 + n % 28:02d},completed,{5 + n % 17}.50" for n in range(300)]
    sales += [f'h{n},"O\'Hara",2024-02-0{1 + n},completed,9.99' for n in range(6)]
    sales += [f"z{n},p{n % 50},1850-01-01,completed,1" for n in range(2_500)]
    sales += [f"y{n},p{n % 50},2031-01-01,completed,1" for n in range(2_500)]
    sales += [f"x{n},nobody{n},2024-01-01,completed,1" for n in range(2_500)]
    sales += [f"w{n},p{n % 50},2024-01-01,sold?,-{n}" for n in range(2_500)]
    toml = (
        'title = "Ünsere shop"\ncurrency = "EUR"\nas_of = 2024-06-30\n[files]\n"people.csv" = {encoding = "cp1252"}\n'
    )
    folder = shop(people=people, sales=sales, files={"source.toml": toml})
    (folder / "people.csv").write_bytes((folder / "people.csv").read_bytes().decode("utf-8").encode("cp1252"))
    home = tmp_path / "home"
    ended = quick("run", "--source", folder, "--home", home)
    assert ended.code == 0, ended.words
    assert "Traceback" not in ended.words
    warehouse = home / "warehouse.duckdb"
    accounting = {row[0]: row[1:4] for row in read(warehouse, "from quality.row_accounting")}
    assert accounting["orders"][0] == 10_306
    assert accounting["orders"][2] == 10_000
    assert all(raw == clean + rejected for raw, clean, rejected in accounting.values())
    rules = dict(
        read(warehouse, "select rule, count(*) from quality.rejected_rows where table_name = 'orders' group by 1")
    )
    assert sum(rules.values()) == 10_000
    assert len(rules) >= 3
    kept = {row[0] for row in read(warehouse, "select customer_id from clean.customers")}
    assert set(odd_ids[:2] + odd_ids[3:]) <= kept
    assert not {"late", None, ""} & kept
    assert read.one(warehouse, "select count(*) from segments.customer_segments") == len(kept)
    paid = "select sum(net_amount) from features.order_lines where customer_id = 'O''Hara'"
    assert read.one(warehouse, paid) == Decimal("59.94")
    assert read.one(warehouse, "select count(*) from features.order_lines") == 306
    assert read.one(warehouse, "select bool_or(has_valid_email) from clean.contact_flags") in (False, None)
    off = dict(read(warehouse, "select capability, reason from quality.capabilities where not is_on"))
    assert "email" in " ".join(off)
    assert read.one(warehouse, "select city from clean.customers where customer_id = 'O''Hara'") == "Zürich"
    ids = "select customer_id from segments.customer_segments where customer_id like '%hi%'"
    again = quick("sql", ids, "--format", "json", "--home", home)
    assert json.loads(again.out) == [{"customer_id": 'say "hi"'}]


TOO_LITTLE = {
    "one_customer": (
        ["p1,Bern,2023-01-01,true,p1@example.com"],
        ["1,p1,2024-01-01,completed,10.00", "2,p1,2024-02-01,completed,20.00"],
    ),
    "all_orders_cancelled": (
        [f"p{n},Bern,2023-01-{1 + n % 28:02d},true,p{n}@example.com" for n in range(40)],
        [f"{n},p{n % 40},2024-01-{1 + n % 28:02d},cancelled,10.00" for n in range(80)],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TOO_LITTLE))
def test_too_little_to_segment_is_published_with_its_reasons(
    name: str, quick: Any, shop: Any, read: Any, tmp_path: Path
) -> None:
    people, sales = TOO_LITTLE[name]
    home = tmp_path / "home"
    ended = quick("run", "--source", shop(people=people, sales=sales), "--home", home)
    assert ended.code == 0, ended.words
    published = home / "published.duckdb"
    assert read.one(published, "select count(*) from segments.customer_segments") == len(people)
    assert read.one(published, "select count(*) from campaigns.email_drafts") == 0
    for axis in ("stage", "taste"):
        ((k, reason),) = read(published, f"select k, reason from segments.{axis}_choice")
        assert k <= 1, (axis, k)
        assert reason
    assert all(reason for (reason,) in read(published, "select reason from quality.capabilities where not is_on"))
    if name == "all_orders_cancelled":
        assert read.one(published, "select count(*) from features.order_lines") == 0
        assert read.one(published, "select count(*) from features.customer_features where is_buyer") == 0
        assert set(read(published, "select distinct stage_segment_id from segments.customer_segments")) == {("S0",)}


# --- other processes, the disk ------------------------------------------------------------------------------------


def test_a_warehouse_held_open_by_another_process_is_named_and_left_alone(quick: Any, home: Path, read: Any) -> None:
    before = read.fingerprints(home / "warehouse.duckdb")
    published = (home / "published.duckdb").stat()
    hold = (
        f"import duckdb; con = duckdb.connect({str(home / 'warehouse.duckdb')!r}, read_only=True)\n"
        "print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        ended = quick(
            "run",
            "--select",
            'key:"features/order_lines" or key:"features/spend_by_value" or key:"published"',
            "--home",
            home,
            env={"SEGMENTATION_ENGINE__WAIT_SECONDS": "0.5"},
        )
        holder.communicate(b"\n")
    assert ended.code == 1
    assert f"warehouse.duckdb is held open by process {holder.pid}" in ended.words
    assert "Close it there (analysts: open published.duckdb, never warehouse.duckdb)" in ended.words
    assert read.fingerprints(home / "warehouse.duckdb") == before
    assert (home / "published.duckdb").stat().st_ino == published.st_ino


def test_the_second_of_two_runs_at_once_says_for_whom_it_waits_and_then_succeeds(
    cli: Any, home: Path, wait_for: Callable[..., None]
) -> None:
    with hold_run_lock(Home(home), "firstrun-1", print):  # the first is this process
        second = cli.start("run", "--select", 'key:"features/spend_by_value"', "--home", home)
        wait_for(lambda: len(list((home / "locks").glob("*.lock"))) == 2, "the second run to begin", 240)
        assert second.stdout is not None
        too_long = threading.Timer(120, second.kill)
        too_long.start()
        said = next((line for line in second.stdout if line.startswith("Waiting for ")), "nothing, and ended")
        too_long.cancel()
        assert f"Waiting for run firstrun (process {os.getpid()})" in said
        assert second.poll() is None
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, out + err


def _limited(cli: Any, home: Path, limit: int, *words: object) -> tuple[int, str]:
    """Run where no file may grow beyond `limit` bytes: a full disk, as the program sees it."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from segmentation_assets.cli import main\n"
        f"sys.argv = {['segmentation', *map(str, words), '--home', str(home)]!r}\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cli.folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_disk_that_fills_while_publishing_leaves_the_copy_before(cli: Any, home: Path, read: Any) -> None:
    published = home / "published.duckdb"
    before = read.fingerprints(published)
    size = (home / "warehouse.duckdb").stat().st_size
    code, words = _limited(cli, home, size // 2, "run", "--select", 'key:"published"')
    assert code == 1, words
    assert "disk full" in words
    assert read.fingerprints(published) == before
    assert not [path for path in home.iterdir() if ".tmp" in path.name]


def test_a_disk_that_fills_while_loading_leaves_every_table_as_it_was(
    cli: Any, quick: Any, home: Path, read: Any
) -> None:
    warehouse = home / "warehouse.duckdb"
    before = read.fingerprints(warehouse)
    published = (home / "published.duckdb").read_bytes()
    code, words = _limited(cli, home, 8_000_000, "run", "--customers", 4_000, *ONLY_RAW)
    assert code == 1, words
    assert "The disk is full, or a file may not grow further. Free some space and run again" in words
    assert "Traceback" not in words
    assert read.fingerprints(warehouse) == before
    assert (home / "published.duckdb").read_bytes() == published
    assert not (home / "staging").exists()
    again = quick("run", *ONLY_RAW, "--customers", 400, "--home", home)
    assert again.code == 0, again.words
    assert read.fingerprints(warehouse) == before
