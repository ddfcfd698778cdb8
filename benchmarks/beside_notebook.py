#!/usr/bin/env python
"""The stages an analyst's notebook has, timed beside the same stages of this project called as functions.

`python benchmarks/beside_notebook.py --customers 10000 [--notebook PATH] [--json FILE]` runs the notebook (Faker,
pandas, scikit-learn) as a process of its own and then, with the same number of customers and order lines and on the
same machine, this project's functions in this process: no Dagster, no history, no checks. The start of both processes
and their imports are not counted; the notebook's full silhouette is left as it is.

What is not alike is said in the output. Our stages do more: 19 tables instead of 5, every rejected row on record, two
axes of segments with evidence beside a null. E-mail is different work (drafts per campaign here, one text per
customer there) and is kept out of the totals on both sides.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from segmentation_assets.defs.axes import AXES, AxisInputs, read_inputs, register, segments_of
from segmentation_assets.defs.hidden_text import free_text, hidden_columns
from segmentation_assets.defs.merchandising import campaign_spec, goods_of, window_of
from segmentation_assets.language.profile_writer import PROFILE_TYPES, write_profiles
from segmentation_assets.language.segment_facts import gather_segment_facts
from segmentation_assets.merchandising.activity import audience_members, expected_products, fit_activity
from segmentation_assets.merchandising.affinity import product_affinity
from segmentation_assets.merchandising.briefs import build_briefs
from segmentation_assets.merchandising.matching import match_products, past_rates
from segmentation_assets.merchandising.offer_plan import plan_offers
from segmentation_assets.merchandising.plan import BY_TASTE, RATE_DAYS, STAGE_GROUPS, TABLE_TYPES, empty_table
from segmentation_assets.merchandising.promotable import in_categories, promotable_products
from segmentation_assets.merchandising.shares import learn_shares
from segmentation_assets.merchandising.stage_groups import stage_groups
from segmentation_assets.messaging.drafts import DRAFT_TYPES, build_drafts
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.segmentation.assign import assign, assign_outside
from segmentation_assets.segmentation.choose import Choice, choose_k
from segmentation_assets.segmentation.drivers import DRIVER_SCHEMA, segment_drivers
from segmentation_assets.segmentation.fit import Prepared, evidence_of, fit_axis, identify, model_frame, prepare
from segmentation_assets.segmentation.model import FrozenModel
from segmentation_assets.settings import Home, load_settings, record_flags
from segmentation_assets.sources.choice import stage_source
from segmentation_assets.sources.cleaning import (
    clean_contacts,
    clean_warehouse,
    write_contact_flags,
    write_row_accounting,
)
from segmentation_assets.sources.loading import load_raw
from segmentation_assets.state.store import open_state
from segmentation_assets.warehouse.as_of import past_day, read_table
from segmentation_assets.warehouse.connection import literal, transaction
from segmentation_assets.warehouse.publish import publish
from segmentation_assets.warehouse.sql_models import SQL_ROOT, SqlModel, load_model, load_models
from segmentation_assets.warehouse.tables import create_from_frame, create_from_query

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT.parent / "shared" / "bench" / "baseline_notebook.py"
#: The notebook's stages, in its order.
STAGES = ("generate", "clean", "features", "encode", "choose_k", "assign", "profile", "match", "email", "write")
#: Different work on the two sides: shown, and in no total.
NOT_ALIKE = "email"


class BenchmarkError(RuntimeError):
    """The comparison cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Side:
    """One side of the comparison: wall and CPU seconds by stage, peak memory, and how much there was to do."""

    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    peak_mb: float
    customers: int
    order_lines: int
    remarks: tuple[str, ...] = ()

    def total(self, *, leaving_out: Sequence[str] = ()) -> float:
        """Wall seconds of all stages but some."""
        return sum(seconds for stage, seconds in self.seconds.items() if stage not in leaving_out)

    def cpu_total(self, *, leaving_out: Sequence[str] = ()) -> float:
        """CPU seconds of all stages but some, all cores together."""
        return sum(seconds for stage, seconds in self.cpu_seconds.items() if stage not in leaving_out)


@dataclass(frozen=True)
class Comparison:
    """Both sides. `ratios` are notebook seconds over seconds here: above 1, this project is ahead."""

    notebook: Side
    here: Side

    def ratio(self, leaving_out: Sequence[str]) -> float:
        """Notebook over here, of the totals."""
        return self.notebook.total(leaving_out=leaving_out) / self.here.total(leaving_out=leaving_out)

    def as_dict(self) -> dict[str, Any]:
        """The comparison for a JSON file."""
        return dataclasses.asdict(self) | {
            "ratio": self.ratio([NOT_ALIKE]),
            "ratio_without_generate": self.ratio([NOT_ALIKE, "generate"]),
        }


@dataclass
class Shop:
    """What the stages hand on: the stores, and the axes as far as they have come."""

    warehouse: Warehouse
    inputs: dict[str, AxisInputs] = field(default_factory=dict)
    prepared: dict[str, Prepared] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)
    evidence: dict[str, pl.DataFrame] = field(default_factory=dict)
    frozen: dict[str, FrozenModel | None] = field(default_factory=dict)


def open_shop(home: Home, customers: int, lines_per_customer: float, seed: int = 42) -> Shop:
    """A shop in a fresh HOME. BenchmarkError when `home` is in use."""
    if home.warehouse.exists():
        raise BenchmarkError(f"{home.path} holds a run already; a benchmark needs a fresh folder.")
    flags = {
        "seed": seed,
        "source": {"name": "synthetic"},
        "synthetic": {"customers": customers, "lines_per_customer": round(lines_per_customer, 3)},
    }
    load_settings(home, flags)
    home.ensure()
    record_flags(home, flags)
    return Shop(Warehouse.at(home))


def generate(shop: Shop) -> None:
    """Make the world and load its tables."""
    place, settings = shop.warehouse.place, shop.warehouse.settings
    description = stage_source(settings, place)
    load_raw(place.staging, description, place.warehouse, place.people, settings.engine_limits())


def clean(shop: Shop) -> None:
    """All 19 tables, with every rejected row and repair on record."""
    with shop.warehouse.get_connection(with_people=True) as con:
        as_of, currency = source_row(con)
        with transaction(con):
            counts = clean_warehouse(con, as_of, currency)
        with transaction(con):
            counts["contacts"] = clean_contacts(con, as_of)
        with transaction(con):
            write_contact_flags(con)
            write_row_accounting(con, counts)


def features(shop: Shop) -> None:
    """Every SQL model of the features."""
    privacy = shop.warehouse.settings.privacy
    with shop.warehouse.get_connection() as con, transaction(con):
        products = con.sql("select product_id, category, subcategory from clean.products order by product_id").pl()
        guards = products.select(
            "product_id",
            is_sensitive=in_categories(tuple(privacy.sensitive_categories)),
            is_age_restricted=in_categories(tuple(privacy.age_restricted_categories)),
        )
        create_from_frame(con, "features/product_guards", guards)
        rule = pl.DataFrame({"unknown_age_is_minor": [privacy.unknown_age_is_minor]})
        create_from_frame(con, "features/age_rule", rule)
        nobody = pl.DataFrame(schema={"customer_id": pl.String, "opted_out_at": pl.Datetime("us")})
        create_from_frame(con, "features/profiling_opt_outs", nobody)
        # Nothing was sent from here yet, so there is nothing to learn of messages.
        _build(con, [model for model in load_models("features") if model.name != "features/engagement"])


def encode(shop: Shop) -> None:
    """The matrix of each axis."""
    for axis in AXES:
        shop.inputs[axis] = read_inputs(shop.warehouse, axis)
        inputs = shop.inputs[axis]
        shop.prepared[axis] = prepare(inputs.customers, inputs.shares, inputs.spec)


def choose(shop: Shop) -> None:
    """Evidence for every k beside its null, and the choice, on both axes."""
    for axis, prepared in shop.prepared.items():
        shop.evidence[axis] = evidence_of(prepared)
        shop.choices[axis] = choose_k(shop.evidence[axis], prepared.spec, prepared.off_reason)


def fit_and_assign(shop: Shop) -> None:
    """Fit with the chosen k, name, register the frozen model, and assign every customer by it."""
    for axis, choice in shop.choices.items():
        inputs, prepared = shop.inputs[axis], shop.prepared[axis]
        if choice.k == 0:
            shop.frozen[axis] = None
            model, assigned = model_frame(None), assign_outside(inputs.customers["customer_id"], inputs.spec)
        else:
            with open_state(shop.warehouse.place.state) as state:
                known = {identity.name for identity in state.identities()}
                fitted = fit_axis(prepared, choice.k)
                identified = identify(fitted, inputs.customers, inputs.shares, taken_names=known)
                frozen = register(state, shop.warehouse, identified, inputs.customers.height, "benchmark")
                model = model_frame(frozen, segments_of(state, frozen))
            shop.frozen[axis] = frozen
            assigned = assign(frozen, inputs.customers, inputs.shares, inputs.spec)
        with shop.warehouse.get_connection() as con, transaction(con):
            create_from_frame(con, f"segments/{axis}_model", model)
            create_from_frame(con, f"segments/{axis}_assignments", assigned)


def profile(shop: Shop) -> None:
    """The segment tables, what drives each segment, and its profile in words."""
    drivers = [pl.DataFrame(schema=DRIVER_SCHEMA)]
    with shop.warehouse.get_connection() as con, transaction(con):
        _build(con, load_models("segments"))
        _build(con, [load_model(SQL_ROOT / "profiles" / "segment_mix.sql")])
        for axis, prepared in shop.prepared.items():
            if shop.choices[axis].k == 0:
                continue
            assigned = con.sql(f"select customer_id, segment_id from segments.{axis}_assignments").pl()
            ids = prepared.matrix.included_ids.to_frame("customer_id")
            ids = ids.join(assigned, on="customer_id", maintain_order="left")
            drivers.append(
                segment_drivers(prepared.matrix, prepared.values, prepared.names, ids["segment_id"], prepared.spec)
            )
        create_from_frame(con, "segments/segment_drivers", pl.concat(drivers))
        facts = gather_segment_facts(
            _read(con, "segments.segment_summary"),
            _read(con, "segments.segment_metrics"),
            _read(con, "segments.segment_drivers"),
            _read(con, "profiles.segment_mix"),
            situations=dict(_groups(con).select("stage_segment_id", "stage_group").iter_rows()),
            verdicts={axis: choice.verdict for axis, choice in shop.choices.items()},
            currency=source_row(con)[1],
            minimum_cell=shop.warehouse.settings.privacy.minimum_cell,
            sensitive_categories=shop.warehouse.settings.privacy.sensitive_categories,
        )
        create_from_frame(con, "profiles/segment_profiles", write_profiles(facts), PROFILE_TYPES)


def _stood(shop: Shop, as_of: dt.date) -> pl.DataFrame:
    """segments.past_segments of the last window: where everybody stood when it began, by the models just fitted."""
    day = as_of - dt.timedelta(days=RATE_DAYS)
    placed: list[pl.DataFrame] = []
    with past_day(shop.warehouse.place.warehouse, day) as con:
        customers, shares = read_table(con, "features/customer_features"), read_table(con, "features/customer_shares")
    for axis in AXES:
        frozen = shop.frozen[axis]
        found = (
            assign_outside(customers["customer_id"], shop.inputs[axis].spec)
            if frozen is None
            else assign(frozen, customers, shares, shop.inputs[axis].spec)
        )
        placed.append(found.select("customer_id", pl.col("segment_id").alias(f"{axis}_segment_id")))
    return placed[0].join(placed[1], on="customer_id").with_columns(windows_ago=pl.lit(1, pl.Int64), as_of=pl.lit(day))


def match(shop: Shop) -> None:
    """Promotable products, affinity, audiences with expected margin, the offer plan, and the campaigns made of it.

    Learned on the last 90 days. The back-test and the next products of each customer are no part of the notebook and
    are left out.
    """
    spec, seed = campaign_spec(shop.warehouse.settings), shop.warehouse.settings.seed
    with shop.warehouse.get_connection(read_only=True) as con:
        as_of, _ = source_row(con)
    stood = _stood(shop, as_of)
    with shop.warehouse.get_connection() as con, transaction(con):
        create_from_frame(con, "segments/past_segments", stood)
        _build(con, load_models("campaigns"))
        inventory, none = _read(con, "clean.inventory"), empty_table("campaigns/product_choices")
        promotable = promotable_products(
            _read(con, "clean.products"),
            None if inventory.is_empty() else inventory,
            _read(con, "campaigns.product_sales"),
            none,
            spec=spec,
            as_of=as_of,
        )
        _write_campaign_table(con, "campaigns/promotable_products", promotable)
        affinity = product_affinity(_read(con, "campaigns.segment_purchases"), _read(con, "campaigns.product_traits"))
        _write_campaign_table(con, "campaigns/product_affinity", affinity)
        then, now = window_of(con, "customer_activity", 1), window_of(con, "customer_activity", 0)
        expected = expected_products(fit_activity(then, seed), now)
        groups = _groups(con)
        members = audience_members(now, _read(con, "features.reachability"), groups, expected)
        _write_campaign_table(con, "campaigns/audience_members", members)
        counts = window_of(con, "window_purchases", 1)
        shares = learn_shares(counts, goods_of(con), sorted(set(members["taste_segment_id"])))
        matches = match_products(
            promotable, members, shares, past_rates(counts, then), scored_by=BY_TASTE, choices=none, spec=spec
        )
        _write_campaign_table(con, "campaigns/product_segment_matches", matches)
        plan = plan_offers(matches, members, promotable, spec=spec).frame
        _write_campaign_table(con, "campaigns/offer_plan", plan)
        briefs = build_briefs(
            plan,
            matches,
            promotable,
            members,
            groups,
            taste_names=dict(con.execute("select segment_id, name from segments.taste_model").fetchall()),
            spec=spec,
            as_of=as_of,
        )
        _write_campaign_table(con, "campaigns/briefs", briefs)


def email(shop: Shop) -> None:
    """Two linted drafts per campaign, as text and HTML."""
    with shop.warehouse.get_connection() as con, transaction(con):
        drafts = build_drafts(
            _read(con, "campaigns.briefs"),
            _read(con, "campaigns.promotable_products"),
            stage_groups=STAGE_GROUPS,
            currency=source_row(con)[1],
            sensitive_categories=shop.warehouse.settings.privacy.sensitive_categories,
        )
        create_from_frame(con, "campaigns/email_drafts", drafts, DRAFT_TYPES)


#: The tables the notebook writes as CSV, under its names; of orders and lines the columns that its files have.
CSV_TABLES = {
    "customers": "select * from clean.customers",
    "orders": "select order_id, customer_id, ordered_at, channel, status from clean.orders",
    "lines": "select order_id, product_id, quantity, unit_price, discount_amount, net_amount from features.order_lines",
    "features": "select * from features.customer_features join segments.customer_segments using (customer_id)",
    "profiles": "select * from profiles.segment_profiles",
    "emails": "select * from campaigns.email_drafts",
}


def write(shop: Shop) -> None:
    """The published copy, and the same CSV files that the notebook writes."""
    place = shop.warehouse.place
    publish(
        place.warehouse,
        place.published,
        engine=shop.warehouse.settings.engine_limits(),
        hidden_columns=hidden_columns(),
        hidden_json=free_text(),
    )
    folder = place.path / "csv"
    folder.mkdir(exist_ok=True)
    with shop.warehouse.get_connection(read_only=True) as con:
        for name, query in CSV_TABLES.items():
            con.execute(f"copy ({query}) to {literal(str(folder / f'{name}.csv'))} (format csv, header)")


RUN_HERE: dict[str, Callable[[Shop], None]] = {
    "generate": generate,
    "clean": clean,
    "features": features,
    "encode": encode,
    "choose_k": choose,
    "assign": fit_and_assign,
    "profile": profile,
    "match": match,
    "email": email,
    "write": write,
}


def _read(con: duckdb.DuckDBPyConnection, table: str) -> pl.DataFrame:
    return con.sql(f"from {table}").pl()


def _groups(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    return stage_groups(_read(con, "segments.segment_summary"), _read(con, "segments.segment_metrics"))


def _write_campaign_table(con: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame) -> None:
    create_from_frame(con, table, frame, TABLE_TYPES[table])


def _build(con: duckdb.DuckDBPyConnection, models: Sequence[SqlModel]) -> None:
    """Run SQL models, parents before children."""
    as_of, _ = source_row(con)
    waiting = {model.name: model for model in models}
    while waiting:
        ready = [model for model in waiting.values() if not set(model.parents) & (set(waiting) - {model.name})]
        if not ready:
            raise BenchmarkError(f"These SQL models wait for each other: {', '.join(sorted(waiting))}.")
        for model in ready:
            create_from_query(con, model.name, model.query, {"as_of": as_of} if model.needs_as_of else {})
            del waiting[model.name]


def run_here(shop: Shop, tell: Callable[[str], None] = lambda line: None) -> Side:
    """Run every stage on `shop`, one after the other, and time it."""
    seconds: dict[str, float] = {}
    cpu: dict[str, float] = {}
    for stage in STAGES:
        began, cpu_began = time.perf_counter(), sum(os.times()[:4])
        RUN_HERE[stage](shop)
        seconds[stage] = time.perf_counter() - began
        cpu[stage] = sum(os.times()[:4]) - cpu_began
        tell(f"here      {stage:<10} {seconds[stage]:8.2f} s")
    with shop.warehouse.get_connection(read_only=True) as con:
        customers, lines, drafts, briefs, rejected = con.execute(
            "select (select count(*) from clean.customers), (select count(*) from features.order_lines), "
            "(select count(*) from campaigns.email_drafts), (select count(*) from campaigns.briefs), "
            "(select count(*) from quality.rejected_rows)"
        ).fetchall()[0]
    segments = ", ".join(f"{choice.k} {axis} segments" for axis, choice in shop.choices.items())
    matrices = ", ".join(f"{len(p.names)} columns ({axis})" for axis, p in shop.prepared.items())
    return Side(
        seconds,
        cpu,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        customers,
        lines,
        (f"{segments}, from {matrices}", f"{drafts} drafts for {briefs} campaigns", f"{rejected:,} rows rejected"),
    )


def run_notebook(notebook: Path, customers: int, seed: int = 42) -> Side:
    """Run the notebook in a process of its own; its progress goes to stderr. BenchmarkError when it fails."""
    if not notebook.is_file():
        raise BenchmarkError(f"There is no notebook at {notebook}. Say where it is with --notebook PATH.")
    with tempfile.TemporaryDirectory(prefix="segmentation_notebook_") as folder:
        result = Path(folder) / "result.json"
        done = subprocess.run(
            [sys.executable, str(notebook), "--customers", str(customers), "--seed", str(seed),
             "--json", str(result), "--outdir", folder],
            stdout=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        if done.returncode or not result.is_file():
            raise BenchmarkError(
                f"{notebook.name} ended with exit code {done.returncode}; its message is above. "
                "It needs pandas: pip install -e '.[bench]'."
            )
        return read_notebook(json.loads(result.read_text(encoding="utf-8")))


def read_notebook(result: dict[str, Any]) -> Side:
    """The notebook's own figures."""
    return Side(
        {stage: float(cost["wall_s"]) for stage, cost in result["stages"].items()},
        {stage: float(cost["cpu_s"]) for stage, cost in result["stages"].items()},
        float(result["peak_rss_mb"]),
        int(result["customers"]),
        int(result["order_lines"]),
        (f"{result['best_k']} segments, from {result['features']} columns", f"{result['emails']:,} e-mails"),
    )


def describe(comparison: Comparison) -> str:
    """The comparison as a person reads it in a terminal."""
    there, here = comparison.notebook, comparison.here
    header = f"{'stage':<18}{'notebook s':>12}{'here s':>10}{'ratio':>9}{'notebook CPU s':>17}{'here CPU s':>13}"
    lines = [header, "-" * len(header)]

    def line(name: str, wall: tuple[float, float], cpu: tuple[float, float], *, is_alike: bool = True) -> str:
        ratio = "*" if not is_alike else f"{wall[0] / wall[1]:.2f}" if wall[1] > 0 else ""
        return f"{name:<18}{wall[0]:>12.2f}{wall[1]:>10.2f}{ratio:>9}{cpu[0]:>17.2f}{cpu[1]:>13.2f}"

    for stage in STAGES:
        wall = there.seconds.get(stage, 0.0), here.seconds.get(stage, 0.0)
        cpu = there.cpu_seconds.get(stage, 0.0), here.cpu_seconds.get(stage, 0.0)
        lines.append(line(stage, wall, cpu, is_alike=stage != NOT_ALIKE))
    lines.append("-" * len(header))
    for name, leaving_out in (("all but e-mail", [NOT_ALIKE]), ("without generate", [NOT_ALIKE, "generate"])):
        wall = there.total(leaving_out=leaving_out), here.total(leaving_out=leaving_out)
        lines.append(
            line(name, wall, (there.cpu_total(leaving_out=leaving_out), here.cpu_total(leaving_out=leaving_out)))
        )
    lines += [
        f"{'peak memory, MB':<18}{there.peak_mb:>12,.0f}{here.peak_mb:>10,.0f}",
        f"{'customers':<18}{there.customers:>12,}{here.customers:>10,}",
        f"{'order lines':<18}{there.order_lines:>12,}{here.order_lines:>10,}",
        "",
        f"Notebook: {'; '.join(there.remarks)}.",
        f"Here: {'; '.join(here.remarks)}.",
        "* E-mail is not alike and in no total: the notebook writes one text per customer, here two linted drafts",
        "  per campaign are written, with merge fields that are filled when an approved campaign is sent.",
        "Process start and imports are not counted on either side. Here, Dagster, checks and plots are left out.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both sides, the notebook first, and print the table."""
    parser = argparse.ArgumentParser(description="The analyst's notebook and this project, stage by stage.")
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--notebook", type=Path, default=NOTEBOOK, help="the analyst's notebook as a script")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        there = run_notebook(options.notebook, options.customers, options.seed)
        with tempfile.TemporaryDirectory(prefix="segmentation_beside_") as folder:
            shop = open_shop(
                Home(Path(folder).resolve()), options.customers, there.order_lines / there.customers, options.seed
            )
            here = run_here(shop, tell)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    comparison = Comparison(there, here)
    print(describe(comparison))
    if options.json:
        options.json.write_text(json.dumps(comparison.as_dict(), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
