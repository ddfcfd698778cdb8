"""What README.md says is so: its commands, its files, its asset table, its settings, and the worked example.

`.venv/bin/python segmentation_assets_tests/documentation/test_readme.py` prints the asset table as it should be, with
the descriptions README has now: paste it in when the graph has changed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import duckdb
import pytest
import typer
from filelock import FileLock

from segmentation_assets.cli import app
from segmentation_assets.defs.axes import AXES
from segmentation_assets.settings import PROJECT_ROOT, Home, Settings
from segmentation_assets.sources.contract import CONTRACT
from segmentation_assets.sources.description import find_source
from segmentation_assets.sources.mapped import stage_mapped
from segmentation_assets.warehouse.sql_models import SQL_ROOT, read_header

README = PROJECT_ROOT / "README.md"
EXAMPLE = PROJECT_ROOT / "examples" / "bring_your_own"
COMMAND = Path(sys.executable).with_name("segmentation")

#: Stages in the order README tells them; the graph's groups.
STAGES = (
    "raw", "clean", "quality", "features", "value", "segments", "profiles", "campaigns", "delivery", "results",
    "language", "publish",
)  # fmt: skip


def blocks(language: str) -> list[str]:
    """The fenced blocks of README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def shell_commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


def table_rows(*header: str) -> list[list[str]]:
    """The rows of the Markdown table with this header."""
    lines = README.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"| {' | '.join(header)} |") + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def code(cell: str) -> list[str]:
    """Everything between backticks."""
    return re.findall(r"`([^`]+)`", cell)


# --- the graph ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def assets() -> dict[str, list[str]]:
    """Asset keys by stage, from the definitions themselves."""
    return graph()


def graph() -> dict[str, list[str]]:
    from segmentation_assets.definitions import defs

    found = defs().resolve_asset_graph()
    by_stage: dict[str, list[str]] = {}
    for key in sorted(found.get_all_asset_keys()):
        by_stage.setdefault(found.get(key).group_name, []).append("/".join(key.path))
    return by_stage


def short(stage: str, key: str) -> str:
    """A key as the table writes it: without the stage, where that is its first part."""
    return key.removeprefix(f"{stage}/")


def expected_table(by_stage: dict[str, list[str]], what: dict[str, str]) -> str:
    """The asset table of README for this graph."""
    lines = ["| stage | assets | what |", "|---|---|---|"]
    for stage in [*STAGES, *sorted(set(by_stage) - set(STAGES))]:
        names = ", ".join(f"`{short(stage, key)}`" for key in by_stage.get(stage, []))
        lines.append(f"| {stage} | {names} | {what.get(stage, 'TO WRITE')} |")
    return "\n".join(lines)


def test_asset_table_is_the_graph(assets: dict[str, list[str]]) -> None:
    told = {row[0]: code(row[1]) for row in table_rows("stage", "assets", "what")}
    assert told == {stage: [short(stage, key) for key in keys] for stage, keys in assets.items()}
    assert list(told) == list(STAGES)


def test_tables_to_read_first_are_assets(assets: dict[str, list[str]]) -> None:
    keys = {key.replace("/", ".") for found in assets.values() for key in found}
    named = [code(row[0])[0] for row in table_rows("table", "one row per", "for")]
    assert len(named) > 5
    assert set(named) <= keys


def test_jobs_schedule_and_sensors_are_all_told_and_start_stopped() -> None:
    from segmentation_assets.definitions import defs

    found = defs()
    requesting = [*(found.schedules or []), *(found.sensors or [])]
    told = {code(row[0])[0] for row in table_rows("name", "what it does")}
    assert told == {item.name for item in requesting}
    assert {item.default_status.value for item in requesting} == {"STOPPED"}
    text = README.read_text(encoding="utf-8")
    assert all(f"`{job.name}`" in text for job in found.jobs or [])


# --- commands ----------------------------------------------------------------------------------------------------


def cli() -> typer.core.TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return group


def test_every_command_of_the_command_line_is_in_its_table() -> None:
    told = {code(row[0])[0].removeprefix("segmentation ") for row in table_rows("command", "what it does")}
    assert told == set(cli().commands)


@pytest.mark.parametrize("line", shell_commands())
def test_shell_command_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)
    while "=" in words[0]:
        assert words[0].startswith("SEGMENTATION_"), "a variable set before a command is one of this project's"
        words = words[1:]
    if words[0] == "make":
        target = words[1]
        assert re.search(rf"^{target}:", (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        arguments = [word.removeprefix("ARGS=") for word in words[2:] if word.startswith("ARGS=")]
        words = ["segmentation", "run", *shlex.split(arguments[0])] if arguments else []
    elif words[0] == ".ci/run":
        assert os.access(PROJECT_ROOT / ".ci" / "run", os.X_OK)
        words = []
    if words:
        assert words[0] == "segmentation", f"{words[0]} is not known to this test: say there how to try it"
        command = cli().commands[words[1]]
        words = [re.sub(r"^\$\(cat (\S+)\)$", lambda found: (PROJECT_ROOT / found[1]).read_text(), w) for w in words]
        command.make_context(words[1], words[2:])  # a wrong option or a missing argument raises here


def test_variables_in_readme_are_settings() -> None:
    for name in re.findall(r"SEGMENTATION_([A-Z_]+__[A-Z_]+)=", README.read_text(encoding="utf-8")):
        section, key = name.lower().split("__")
        annotation = Settings.model_fields[section].annotation
        assert key in annotation.model_fields  # type: ignore[union-attr]


# --- files -------------------------------------------------------------------------------------------------------


def named_paths() -> list[str]:
    """What README has between backticks and looks like a path."""
    text = re.sub(r"^```.*?^```$", "", README.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    looks = re.compile(r"[\w.-]*/[\w./-]*|[\w-]+\.(md|toml|sql|py|yaml|csv|txt|html|duckdb|sqlite)|Makefile")
    return sorted({name for name in code(text) if looks.fullmatch(name)})


def test_every_file_and_folder_readme_names_exists(assets: dict[str, list[str]]) -> None:
    keys = {key for found in assets.values() for key in found}
    home = Home(Path("HOME"))
    stores = {getattr(home, name).as_posix() for name in dir(Home) if isinstance(getattr(Home, name), property)}
    stores |= {home.projection(axis).as_posix() for axis in AXES}
    elsewhere = {
        "data/",  # the default home, made by a run
        "../shared/data",  # beside the repository, on machines that have it
        "defs/",
        "orchestration/",  # of the package, named beside it
        "/webhooks/NAME",
        "/api/v1",
        "api/docs",  # of the service
        "HOME/certificates",
        "sql/STAGE/NAME.sql",
        "sql/checks/SCHEMA/TABLE/RULE.sql",
    }
    folders = (PROJECT_ROOT, EXAMPLE)
    missing = [
        name
        for name in named_paths()
        if not any((folder / name).exists() for folder in folders)
        and name not in keys | elsewhere
        and name.rstrip("/") not in stores
    ]
    assert missing == []
    assert len(named_paths()) > 30


def test_every_room_of_the_package_is_told() -> None:
    rooms = {path.parent.name for path in (PROJECT_ROOT / "segmentation_assets").glob("*/__init__.py")}
    told = {name.split("/")[1] for row in table_rows("folder", "what lives there") for name in code(row[0])
            if name.startswith("segmentation_assets/")}  # fmt: skip
    assert told == rooms


def test_every_shipped_source_is_told() -> None:
    told = {code(row[0])[0] for row in table_rows("`--source`", "data", "credit")}
    assert told == {path.parent.name for path in (SQL_ROOT / "sources").glob("*/source.toml")}


def test_seven_questions_of_analysts_are_told_as_their_files_ask_them() -> None:
    told = {code(row[1])[0]: row[0] for row in table_rows("question", "file")}
    files = {f"sql/analyst/{path.name}": path for path in (SQL_ROOT / "analyst").glob("*.sql")}
    assert len(files) == 7
    asked = {name: read_header(path.read_text(encoding="utf-8"))[0] for name, path in files.items()}
    assert {name: text[: text.index("?") + 1] for name, text in asked.items()} == told


# --- settings ----------------------------------------------------------------------------------------------------


def sections() -> list[str]:
    """Every section of the settings, as the TOML file heads it."""
    found = []
    for name, field in Settings.model_fields.items():
        fields = getattr(field.annotation, "model_fields", None)
        if fields is not None:
            found.append(name)
            found += [f"{name}.{key}" for key, inner in fields.items() if hasattr(inner.annotation, "model_fields")]
    return found


def test_every_section_of_the_settings_is_told() -> None:
    rows = table_rows("section", "what it sets")
    told = [name.strip("[]") for row in rows for name in code(row[0])]
    assert sorted(told) == sorted(sections())
    top = [name for name, field in Settings.model_fields.items() if not hasattr(field.annotation, "model_fields")]
    assert [code(row[1])[0] for row in rows if row[0] == "(top)"] == top


def test_settings_file_heads_every_section() -> None:
    text = (PROJECT_ROOT / "segmentation.toml").read_text(encoding="utf-8")
    assert set(re.findall(r"^\[([\w.]+)\]", text, re.MULTILINE)) == set(sections())


# --- the worked example ------------------------------------------------------------------------------------------


def test_blocks_of_the_example_are_its_files() -> None:
    described = tomllib.loads(blocks("toml")[0])
    assert described == tomllib.loads((EXAMPLE / "source.toml").read_text(encoding="utf-8"))
    orders = (EXAMPLE / "orders.sql").read_text(encoding="utf-8")
    assert blocks("sql")[0].strip() == orders[orders.index("select") :].strip()


def test_every_mapping_of_the_example_is_walked_through() -> None:
    told = {code(row[0])[0]: code(row[1]) for row in table_rows("file", "from", "what it shows")}
    there = {path.relative_to(PROJECT_ROOT).as_posix() for path in EXAMPLE.iterdir() if path.suffix != ".csv"}
    assert set(told) == there
    assert {name for files in told.values() for name in files} == {path.name for path in EXAMPLE.glob("*.csv")}
    for path, files in told.items():
        assert all(f"'{name}'" in (PROJECT_ROOT / path).read_text(encoding="utf-8") for name in files)


def test_mappings_of_the_example_spell_out_how_a_file_is_read() -> None:
    for path in EXAMPLE.glob("*.sql"):
        text = path.read_text(encoding="utf-8")
        assert path.stem in CONTRACT
        assert "delim = ';'" in text
        assert "header = true" in text


def test_addresses_of_the_example_are_of_example_com() -> None:
    text = (EXAMPLE / "kunden.csv").read_text(encoding="cp1252")
    assert {address.split("@")[1] for address in re.findall(r"[\w.]+@[\w.]+", text)} == {"example.com", "example"}


def test_example_is_read_from_its_dialect(tmp_path: Path) -> None:
    stage_mapped(find_source(str(EXAMPLE), SQL_ROOT), None, tmp_path / "staging")
    with duckdb.connect(":memory:") as con:

        def one(table: str, where: str, column: str) -> object:
            path = tmp_path / "staging" / table / "*.parquet"
            return con.execute(f"select {column} from read_parquet('{path}') where {where}").fetchall()[0][0]

        assert one("products", "product_id = 'A-30'", "list_price") == "1290.00"
        assert one("products", "product_id = 'A-40'", "name") == "Gutschein 25 €"
        assert one("customers", "customer_id = 'K-001'", "city") == "Köln"
        assert one("orders", "order_id = 'B-1014'", "ordered_at") == "2025-09-30 22:30:00"
        assert one("orders", "order_id = 'B-1019'", "ordered_at") == "31.02.2026 12:00"
        assert one("order_items", "order_item_id = 'B-1022-1'", "quantity") == "0.5"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The example run once by the command README gives, for all test processes, and what that printed."""
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent  # each process has its own below it
    home, printed = folder / "readme_shop", folder / "readme_shop.txt"
    with FileLock(folder / "readme_shop.lock"):
        if not printed.exists():
            line = next(line for line in shell_commands() if "--source examples/bring_your_own" in line)
            done = run(line, home)
            assert done.returncode == 0, done.stdout + done.stderr
            printed.write_text(done.stdout, encoding="utf-8")
    return home, " ".join(printed.read_text(encoding="utf-8").split())


def run(line: str, home: Path) -> subprocess.CompletedProcess[str]:
    """A line of README in the project's folder, its home put elsewhere."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTATION_")}
    environment |= {"SEGMENTATION_HOME": str(home), "PATH": f"{COMMAND.parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    line = re.sub(r"--home \S+ ?", "", line)
    return subprocess.run(
        ["bash", "-c", line], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_example_runs_and_rejects_what_readme_says(shop: tuple[Path, str]) -> None:
    home, printed = shop
    text = " ".join(README.read_text(encoding="utf-8").split())
    figures = re.search(r"100 raw = (\d+) clean \+ (\d+) rejected; (\d+) repaired", text)
    assert figures is not None
    assert figures[0] in printed
    with duckdb.connect(str(home / "published.duckdb"), read_only=True) as con:
        rejected = con.execute("select table_name, row_key, rule from quality.rejected_rows").fetchall()
        told = [
            (code(row[0])[0], row[1], code(row[2])[0]) for row in table_rows("table", "row", "rule", "what happened")
        ]
        assert sorted(rejected) == sorted(told)
        lines = con.execute("select count(*), sum(net_amount) from features.order_lines").fetchall()
        assert [(n, str(amount)) for n, amount in lines] == [(28, "2123.4500")]
        remarks = con.execute(
            "select 1 from duckdb_columns() where column_name = 'remark' and table_name = 'customer_attributes'"
        ).fetchall()
        assert remarks == [], "free text stays out of the published copy"
        minor = con.execute("select is_minor, is_reachable from features.reachability where customer_id = 'K-007'")
        assert minor.fetchall() == [(True, False)]
        reason = con.execute("select reason from quality.capabilities where capability = 'matching'").fetchall()[0][0]
        assert reason.rstrip(".") in text


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in shell_commands() if re.match(r"segmentation (sql|status)\b", line)])
def test_query_of_readme_runs_on_a_finished_home(line: str, shop: tuple[Path, str]) -> None:
    done = run(line, shop[0])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.slow
def test_each_question_of_analysts_runs_the_way_readme_says(shop: tuple[Path, str]) -> None:
    line = next(line for line in shell_commands() if "sql/analyst/" in line)
    for path in sorted((SQL_ROOT / "analyst").glob("*.sql")):
        done = run(re.sub(r"sql/analyst/\w+\.sql", f"sql/analyst/{path.name}", line), shop[0])
        assert done.returncode == 0, f"{path.name}: {done.stderr}"


@pytest.mark.slow
def test_python_of_readme_runs(shop: tuple[Path, str]) -> None:
    program = blocks("python")[0].replace("data/published.duckdb", str(shop[0] / "published.duckdb"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Unknown" in done.stdout


if __name__ == "__main__":
    described = {row[0]: row[2] for row in table_rows("stage", "assets", "what")}
    sys.stdout.write(expected_table(graph(), described) + "\n")
