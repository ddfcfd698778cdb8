"""What of the contract stays out of the published copy."""

from __future__ import annotations

from collections.abc import Sequence

from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES


def hidden_columns(undeclared: Sequence[str] = ()) -> dict[str, list[str]]:
    """Free-text columns by raw and clean table; `undeclared` are those a source flags in customer_attributes."""
    hidden: dict[str, list[str]] = {}
    for name, columns in free_text(undeclared).items():
        hidden[f"raw/{name}"] = columns
        hidden[f"clean/{name}"] = columns
    return hidden


def free_text(undeclared: Sequence[str] = ()) -> dict[str, list[str]]:
    """Free-text columns by contract table."""
    found = {
        name: [column.name for column in CONTRACT[name].columns if column.is_free_text] for name in WAREHOUSE_TABLES
    }
    found["customer_attributes"] = [*found["customer_attributes"], *undeclared]
    return {name: columns for name, columns in found.items() if columns}
