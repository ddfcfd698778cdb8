"""The graph as Dagster sees it: it loads, every asset says what it is, and both ways in name one location."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]  # no stubs are installed for it

from segmentation_assets.cli import JOBS
from segmentation_assets.definitions import defs
from segmentation_assets.settings import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "segmentation_assets"


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGMENTATION_HOME", str(tmp_path_factory.mktemp("home")))
        return defs()


def test_the_definitions_load(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    assert {job.name for job in definitions.resolve_all_job_defs()} >= {"full_refresh", "recluster", "assign"}


def test_the_jobs_differ_in_how_much_is_fitted_again(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    parts = {}
    for name in ("full_refresh", "recluster", "refit", "assign"):
        keys = {"/".join(key.path) for key in definitions.resolve_job_def(name).asset_layer.selected_asset_keys}
        parts[name] = {
            part for part in ("evidence", "choice", "model", "assignments") if f"segments/taste_{part}" in keys
        }
        assert {"published", "brief"} <= keys, name
        assert ("raw/source" in keys) == (name in ("full_refresh", "assign")), name
        if name == "full_refresh":
            assert len(keys) == len(graph.get_all_asset_keys())
    assert parts == {
        "full_refresh": {"evidence", "choice", "model", "assignments"},
        "recluster": {"evidence", "choice", "model", "assignments"},
        "refit": {"model", "assignments"},
        "assign": {"assignments"},
    }


def test_every_job_reads_what_was_sent_before_it_writes_of_how_it_was_answered(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    way = ["delivery/sends", "features/engagement", "results/segment_engagement", "campaigns/email_drafts", "published"]
    for parent, child in pairwise(way[:-1]):
        assert dg.AssetKey(child.split("/")) in graph.get(dg.AssetKey(parent.split("/"))).child_keys, child
    engaged = dg.AssetKey(["results", "segment_engagement"])
    assert dg.AssetKey(["profiles", "segment_profiles"]) in graph.get(engaged).child_keys
    for name in JOBS:
        keys = {"/".join(key.path) for key in definitions.resolve_job_def(name).asset_layer.selected_asset_keys}
        assert {*way, "profiles/segment_profiles", "results/segment_campaigns"} <= keys, name


def test_results_are_of_what_was_sent_and_never_of_what_is_written_from_them(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    above = {"/".join(key.path) for key in graph.get_ancestor_asset_keys(dg.AssetKey(["results", "segment_campaigns"]))}
    assert "delivery/sends" in above
    assert not {key for key in above if key.startswith(("profiles/", "campaigns/", "delivery/plan"))}


def test_the_campaigns_job_begins_at_the_choice_and_fits_nothing(definitions: dg.Definitions) -> None:
    keys = {"/".join(key.path) for key in definitions.resolve_job_def("campaigns").asset_layer.selected_asset_keys}
    assert {"campaigns/product_choices", "campaigns/product_segment_matches", "campaigns/next_best_products",
            "campaigns/email_drafts", "brief", "published"} <= keys  # fmt: skip
    # How the last messages were answered is read anew, for the profiles and the copy of this run.
    answered = {"features/engagement"}
    assert answered | {"results/segment_engagement", "results/segment_campaigns"} <= keys
    assert not {key for key in keys - answered if key.startswith(("raw/", "clean/", "features/", "segments/"))}
    # Sending is asked for by name and by its sensor, and is no way to run the graph.
    others = {"__ASSET_JOB", "send_campaign"}
    assert set(JOBS) == {job.name for job in definitions.resolve_all_job_defs()} - others


def test_every_asset_has_a_description_a_group_an_owner_and_kinds(definitions: dg.Definitions) -> None:
    specs = list(definitions.resolve_all_asset_specs())
    assert len(specs) > 60
    for spec in specs:
        name = "/".join(spec.key.path)
        assert spec.description and len(spec.description) > 20, name
        assert spec.group_name and spec.group_name != "default", name
        assert spec.owners, name
        assert spec.kinds, name
        assert "stage" in spec.tags, name


def test_only_the_last_assets_lead_nowhere_and_published_comes_last(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    leaves = {"/".join(key.path) for key in graph.get_all_asset_keys() if not graph.get(key).child_keys}
    assert "published" in leaves
    assert {leaf for leaf in leaves if leaf.split("/")[0] not in ("published", "people", "brief")} == set()


def test_workspace_and_project_name_the_same_location() -> None:
    workspace = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text(encoding="utf-8"))
    ((location,),) = [list(entry.values()) for entry in workspace["load_from"]]
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dg"]["project"]
    assert location["location_name"] == project["code_location_name"]
    assert location["module_name"] == f"{project['root_module']}.definitions"


@functools.cache
def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_dagster_is_imported_where_it_may_be_and_nowhere_else() -> None:
    may = {"definitions.py", "cli.py"}
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0].startswith("dagster") for name in _imported(path))
    }
    assert {user for user in users if user not in may and user.split("/")[0] not in ("defs", "orchestration")} == set()
    assert any(user.startswith("defs/") for user in users)  # the search can find


def test_no_private_dagster_import() -> None:
    for path in PACKAGE.rglob("*.py"):
        private = [name for name in _imported(path) if name.startswith("dagster") and "._" in name]
        assert private == [], path


@pytest.mark.slow
def test_dg_check_defs_passes(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTATION_")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), "check", "defs", "--target-path", str(PROJECT_ROOT)],
        cwd=PROJECT_ROOT,
        env={**environment, "SEGMENTATION_HOME": str(tmp_path), "DAGSTER_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
