"""The benchmarks measure what they say: steps and memory of the graph, and the notebook beside the same stages here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from segmentation_assets.orchestration.execution import StepProgress
from segmentation_assets.settings import Home

ROOT = Path(__file__).resolve().parents[2]
CUSTOMERS = 400

#: A stand-in for the analyst's notebook: the same options and the same result file, without its dependencies.
NOTEBOOK = """
import argparse, json
parser = argparse.ArgumentParser()
for name in ("--customers", "--seed", "--json", "--outdir"):
    parser.add_argument(name)
given = parser.parse_args()
stages = ["generate", "clean", "features", "encode", "choose_k", "assign", "profile", "match", "email", "write"]
customers = int(given.customers)
result = dict(customers=customers, order_lines=5 * customers, best_k=3, features=36, emails=customers // 2,
              peak_rss_mb=200, stages={stage: dict(wall_s=1.0, cpu_s=2.0) for stage in stages})
open(given.json, "w").write(json.dumps(result))
"""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    return _load("scale")


@pytest.fixture(scope="module")
def beside() -> ModuleType:
    return _load("beside_notebook")


def _side(beside: ModuleType, seconds: dict[str, float]) -> object:
    return beside.Side(seconds, dict.fromkeys(seconds, 1.0), 300.0, 1000, 10_000, ("a remark",))


def test_memory_sampler_sees_a_peak_that_is_gone_at_the_end_and_forgets_it_on_restart(scale: ModuleType) -> None:
    with scale.MemorySampler(0.01) as sampler:
        before = sampler.restart()
        block = np.ones(15_000_000)  # 120 MB
        time.sleep(0.1)
        del block
        assert sampler.peak() > before + 80
        sampler.restart()
        assert sampler.peak() < before + 80
    assert sampler.highest > before + 80


def test_memory_of_child_processes_counts(scale: ModuleType) -> None:
    code = "x = bytearray(150_000_000); x[::4096] = b'1' * len(x[::4096]); print('ready', flush=True); input()"
    with scale.MemorySampler(0.01) as sampler:
        before = sampler.restart()
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        peak = sampler.peak()
        child.communicate("\n")
    assert peak > before + 100


def test_step_costs_add_up_by_stage_and_what_no_step_accounts_for_is_shown(scale: ModuleType) -> None:
    with scale.MemorySampler() as sampler:
        watcher = scale.StepWatcher(sampler, {"clean": "clean", "features__a": "features", "features__b": "features"})
        for step, rows in (("clean", {"clean/orders": 7, "people/contacts": -1}), ("features__a", {"features/a": 3})):
            watcher(StepProgress(step))
            watcher(StepProgress(step, rows, 2.0))
        watcher(StepProgress("features__b"))
        watcher(StepProgress("features__b", {"features/b": 5}, 0.5, is_ok=False))
    report = scale.ScaleReport(10, 2, steps=watcher.steps, seconds=6.0)
    assert [(stage.group, stage.steps, stage.seconds, stage.rows) for stage in report.stages] == [
        ("clean", 1, 2.0, 7),
        ("features", 2, 2.5, 8),
    ]
    assert report.between_seconds == pytest.approx(1.5)
    assert all(step.peak_mb >= step.start_mb > 0 for step in report.steps)
    printed = scale.describe(report)
    assert "features/b (failed)" in printed
    assert json.loads(json.dumps(report.as_dict()))["stages"][1]["rows"] == 8


def test_sizes_of_files_and_folders_are_largest_first_and_skip_what_is_empty(scale: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_bytes(b"abc")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(b"x" * 10)
    assert list(scale.file_sizes(tmp_path).items()) == [("deep/", 10), ("small.txt", 3)]


def test_every_step_of_the_graph_has_a_stage(
    scale: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENTATION_HOME", str(tmp_path))
    groups = scale.groups_by_step()
    assert groups["raw"] == "raw"
    assert groups["clean"] == "clean"
    assert groups["features__order_lines"] == "features"
    assert groups["published"] == "publish"


def test_a_home_in_use_is_refused(scale: ModuleType, beside: ModuleType, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.warehouse.touch()
    with pytest.raises(ValueError, match="fresh folder"):
        scale.measure(home, 100)
    with pytest.raises(beside.BenchmarkError, match="fresh folder"):
        beside.open_shop(home, 100, 10)


def test_email_is_different_work_and_in_no_total(beside: ModuleType) -> None:
    there = _side(beside, {"generate": 10.0, "clean": 4.0, "email": 100.0})
    here = _side(beside, {"generate": 5.0, "clean": 1.0, "email": 0.1})
    comparison = beside.Comparison(there, here)
    assert comparison.ratio([beside.NOT_ALIKE]) == pytest.approx(14 / 6)
    assert comparison.as_dict()["ratio_without_generate"] == pytest.approx(4.0)
    printed = {line.split("  ")[0]: line for line in beside.describe(comparison).splitlines()}
    assert "2.33" in printed["all but e-mail"]
    assert "1000.00" not in printed["email"] and "*" in printed["email"]
    assert "1,000" in printed["customers"]


def test_a_notebook_that_is_missing_or_fails_is_a_sentence_and_exit_code_1(
    beside: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert beside.main(["--notebook", str(tmp_path / "nowhere.py")]) == 1
    assert "--notebook PATH" in capsys.readouterr().err
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)", encoding="utf-8")
    assert beside.main(["--notebook", str(broken)]) == 1
    assert "exit code 3" in capsys.readouterr().err


@pytest.mark.slow
def test_both_sides_run_the_same_stages_with_as_many_customers_and_lines(
    beside: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook, result = tmp_path / "notebook.py", tmp_path / "out.json"
    notebook.write_text(NOTEBOOK, encoding="utf-8")
    given = ["--customers", str(CUSTOMERS), "--notebook", str(notebook), "--json", str(result)]
    assert beside.main(given) == 0
    assert "without generate" in capsys.readouterr().out
    found = json.loads(result.read_text(encoding="utf-8"))
    assert list(found["here"]["seconds"]) == list(found["notebook"]["seconds"]) == list(beside.STAGES)
    assert all(seconds > 0 for seconds in found["here"]["seconds"].values())
    assert found["here"]["customers"] == pytest.approx(CUSTOMERS, rel=0.03)
    # Cancelled orders and rejected rows are no sales: a few lines fewer than were made.
    assert found["here"]["order_lines"] == pytest.approx(5 * CUSTOMERS, rel=0.2)


@pytest.mark.slow
def test_stages_leave_the_tables_that_a_run_leaves_and_agreement_reads_them(
    beside: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home")
    shop = beside.open_shop(home, CUSTOMERS, 10)
    side = beside.run_here(shop)
    with shop.warehouse.get_connection(read_only=True) as con:
        segments, profiles, products, briefs, drafts = con.execute(
            "select (select count(*) from segments.customer_segments), "
            "(select count(*) from profiles.segment_profiles), "
            "(select count(*) from campaigns.promotable_products where is_promotable), "
            "(select count(*) from campaigns.briefs), (select count(*) from campaigns.email_drafts)"
        ).fetchall()[0]
    assert segments == side.customers
    assert profiles >= 4
    assert products > 0
    assert drafts == 2 * briefs  # so few customers may be too few for any campaign
    assert {path.stem for path in (home.path / "csv").iterdir()} == set(beside.CSV_TABLES)
    assert home.published.exists()

    _load("agreement").main(home.path)
    printed = capsys.readouterr().out
    assert "Clean rows wrongly rejected: 0" in printed
    assert "missed" not in printed
    assert "Bayes classifier" in printed


@pytest.mark.slow
def test_scale_measures_every_step_of_a_whole_run(one_thread: Path) -> None:
    found = json.loads((one_thread / "scale.json").read_text(encoding="utf-8"))
    assert found["is_ok"] and found["customers"] == CUSTOMERS
    assert {"raw", "clean", "features", "segments", "profiles", "campaigns", "publish"} <= {
        stage["group"] for stage in found["stages"]
    }
    assert found["peak_mb"] >= max(step["peak_mb"] for step in found["steps"])
    assert 0 < found["between_seconds"] < found["seconds"]
    assert found["files"]["warehouse.duckdb"] > 0
    printed = (one_thread / "stdout.txt").read_text(encoding="utf-8")
    assert "seconds" in printed and "peak memory" in printed


def test_the_benchmark_of_planning_plans_every_customer_of_its_world() -> None:
    planning = _load("planning")
    people, offers = planning.world(1_000, 3, 1)
    spec = planning.PlanSpec(key=planning.SecretKey(bytes(range(32))), control_share=0.1, hold_out_share=0.05)
    plan = planning.plan_sends(people, offers, spec)
    assert plan["customer_id"].sort().to_list() == people["customer_id"].sort().to_list()
    assert {"send", "control", "hold_out", "excluded"} == set(plan["decision"])
    assert {"no_consent", "opted_out", "unsubscribed"} <= set(plan["reason"])
