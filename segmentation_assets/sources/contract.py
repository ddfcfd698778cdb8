"""The raw contract: every table a source may give, declared once.

Cleaning rules, declared types, column descriptions in the UI, comments in the published file, and what counts as
personal, protected or free text are all read from here. Nothing here reads data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a column holds. The DuckDB type follows from it (`Column.sql_type`)."""

    ID = "id"
    TEXT = "text"
    CATEGORY = "category"
    INTEGER = "integer"
    NUMBER = "number"
    QUANTITY = "quantity"
    MONEY = "money"
    SHARE = "share"
    YEAR = "year"
    DATE = "date"
    TIMESTAMP = "timestamp"
    BOOLEAN = "boolean"


SQL_TYPES: dict[Kind, str] = {
    Kind.ID: "VARCHAR",
    Kind.TEXT: "VARCHAR",
    Kind.CATEGORY: "VARCHAR",
    Kind.INTEGER: "BIGINT",
    Kind.NUMBER: "DOUBLE",
    Kind.QUANTITY: "DECIMAL(18,3)",
    Kind.MONEY: "DECIMAL(18,4)",
    Kind.SHARE: "DOUBLE",
    Kind.YEAR: "INTEGER",
    Kind.DATE: "DATE",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.BOOLEAN: "BOOLEAN",
}

#: Amounts and quantities beyond these are data errors in any shop this contract serves, not large orders.
LARGEST_AMOUNT = 10_000_000.0
LARGEST_QUANTITY = 100_000.0


@dataclass(frozen=True)
class Column:
    """One column of a contract table.

    `one_of` are the only values kept; `synonyms` map other spellings (compared in lower case, trimmed) to them.
    `minimum` and `maximum` are inclusive limits of the possible; a value beyond them rejects the row.
    `not_after_as_of` says that a date later than the data's as-of date is impossible.
    `references` names the contract table whose key this column must hold.
    """

    name: str
    kind: Kind
    description: str
    is_key: bool = False
    is_required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    one_of: tuple[str, ...] = ()
    synonyms: dict[str, str] = field(default_factory=dict)
    references: str | None = None
    not_after_as_of: bool = False
    is_personal: bool = False
    is_protected: bool = False
    is_free_text: bool = False

    @property
    def sql_type(self) -> str:
        """The DuckDB type of this column in every table from clean onwards."""
        return SQL_TYPES[self.kind]


@dataclass(frozen=True)
class Table:
    """One table of the contract: its grain is one row per value of its key columns."""

    name: str
    description: str
    columns: tuple[Column, ...]
    is_open: bool = False  # takes any further columns
    is_personal: bool = False  # lives in the people database

    @property
    def key(self) -> tuple[str, ...]:
        """Names of the key columns, in order."""
        return tuple(column.name for column in self.columns if column.is_key)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of all declared columns, in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column called `name`; KeyError when the contract has none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"The contract's table {self.name} has no column {name}.")

    @property
    def parents(self) -> tuple[str, ...]:
        """Contract tables this one refers to, each once, in column order."""
        return tuple(dict.fromkeys(c.references for c in self.columns if c.references))


def _key(name: str, description: str, references: str | None = None) -> Column:
    return Column(name, Kind.ID, description, is_key=True, is_required=True, references=references)


def _ref(name: str, table: str, description: str, is_required: bool = True) -> Column:
    return Column(name, Kind.ID, description, is_required=is_required, references=table)


def _money(name: str, description: str, minimum: float | None = 0.0, is_required: bool = False) -> Column:
    return Column(name, Kind.MONEY, description, is_required=is_required, minimum=minimum, maximum=LARGEST_AMOUNT)


def _past(name: str, description: str, kind: Kind = Kind.TIMESTAMP, is_required: bool = False) -> Column:
    return Column(name, kind, description, is_required=is_required, not_after_as_of=True)


def _category(name: str, description: str, *, is_protected: bool = False) -> Column:
    return Column(name, Kind.CATEGORY, description, is_protected=is_protected)


CUSTOMER_ID = "The customer; one and the same id in every table."
PRODUCT_ID = "The product; one and the same id in every table."

ORDER_STATUSES = ("completed", "shipped", "processing", "cancelled", "returned")
SALES_STATUSES = ("completed", "shipped", "processing")
EVENT_ACTIONS = ("view", "search", "add_to_cart", "wishlist", "purchase")
RESPONSE_KINDS = ("open", "click", "conversion", "unsubscribe", "complaint")
ARMS = ("treated", "control")

_STATUS_SYNONYMS = {
    "complete": "completed", "delivered": "completed", "paid": "completed", "fulfilled": "completed",
    "done": "completed", "closed": "completed", "resolved": "completed",
    "in transit": "shipped", "dispatched": "shipped", "on the way": "shipped",
    "pending": "processing", "in process": "processing", "in progress": "processing", "open": "processing",
    "on hold": "processing", "disputed": "processing", "new": "processing",
    "canceled": "cancelled", "void": "cancelled", "refused": "cancelled",
    "refunded": "returned", "return": "returned",
}  # fmt: skip

_GENDER_SYNONYMS = {
    "f": "female", "woman": "female", "w": "female", "m": "male", "man": "male",
    "x": "other", "nonbinary": "other", "non-binary": "other", "divers": "other",
    "u": "unknown", "n/a": "unknown", "": "unknown", "undisclosed": "unknown",
}  # fmt: skip

_EDUCATION_SYNONYMS = {
    "basic": "primary", "elementary": "primary", "high school": "secondary", "highschool": "secondary",
    "college": "secondary", "2n cycle": "master", "graduation": "bachelor", "graduate": "bachelor",
    "bachelors": "bachelor", "masters": "master", "phd": "doctorate", "doctor": "doctorate",
}  # fmt: skip

#: Lowest to highest: education is ordinal.
EDUCATION_ORDER = ("primary", "secondary", "bachelor", "master", "doctorate")

_TABLES = (
    Table(
        "customers",
        "One row per customer the shop knows, buyer or not. Contact details are kept apart, in people.contacts.",
        (
            _key("customer_id", CUSTOMER_ID),
            Column("gender", Kind.CATEGORY, "Gender as recorded; describes at most, never steers.",
                   one_of=("female", "male", "other", "unknown"), synonyms=_GENDER_SYNONYMS, is_protected=True),
            Column("birth_year", Kind.YEAR, "Year of birth; null when unknown.", minimum=1900, maximum=2100,
                   not_after_as_of=True, is_protected=True),
            _category("city", "City of residence."),
            _category("region", "Region, state or sales territory; the text NA is a value, not a null."),
            _category("country", "Country of residence."),
            _category("timezone", "IANA time zone, for quiet hours."),
            _past("signed_up_at", "When the customer signed up (naive UTC)."),
            _category("acquisition_channel", "How the customer was won."),
            Column("email_consent", Kind.BOOLEAN, "True when the customer agreed to marketing e-mail."),
            _past("email_consent_at", "When that consent was given (naive UTC)."),
        ),
    ),
    Table(
        "contacts",
        "One row per customer: contact details. Lives in the people database only.",
        (
            _key("customer_id", CUSTOMER_ID, references="customers"),
            Column("email", Kind.TEXT, "E-mail address.", is_personal=True),
            Column("first_name", Kind.TEXT, "First name.", is_personal=True),
            Column("last_name", Kind.TEXT, "Last name.", is_personal=True),
            Column("phone", Kind.TEXT, "Telephone number.", is_personal=True),
            Column("birth_date", Kind.DATE, "Date of birth.", is_personal=True, not_after_as_of=True),
            Column("street", Kind.TEXT, "Street and house number.", is_personal=True),
            Column("postal_code", Kind.TEXT, "Postal code.", is_personal=True),
            Column("language", Kind.CATEGORY, "Language the customer is greeted in: ISO 639-1, as de or de-AT. It is a "
                   "contact detail because language hints at origin, which must steer no segment.", is_personal=True),
        ),
        is_personal=True,
    ),
    Table(
        "demographics",
        "One row per customer: what is known of household and work.",
        (
            _key("customer_id", CUSTOMER_ID, references="customers"),
            Column("education", Kind.CATEGORY, "Highest education; ordinal.", one_of=EDUCATION_ORDER,
                   synonyms=_EDUCATION_SYNONYMS),
            _category("marital_status", "Marital status as recorded; describes at most, never steers.",
                      is_protected=True),
            _category("employment_status", "Employment status."),
            _category("occupation", "Occupation."),
            _category("industry", "Industry of work."),
            _money("household_income", "Yearly household income in the source's currency; extremes are kept."),
            Column("kids", Kind.INTEGER, "Small children in the household.", minimum=0, maximum=20),
            Column("teens", Kind.INTEGER, "Teenagers in the household.", minimum=0, maximum=20),
        ),
    ),
    Table(
        "preferences",
        "One row per customer: stated or earlier inferred preferences.",
        (
            _key("customer_id", CUSTOMER_ID, references="customers"),
            _category("favourite_category", "Category the customer named as favourite."),
            _category("favourite_brand", "Brand the customer named as favourite."),
            Column("price_tier", Kind.CATEGORY, "Price level the customer prefers.",
                   one_of=("budget", "middle", "premium"),
                   synonyms={"low": "budget", "mid": "middle", "medium": "middle", "high": "premium"}),
            Column("discount_sensitivity", Kind.SHARE, "How strongly discounts move the customer, 0 to 1.",
                   minimum=0, maximum=1),
            Column("luxury_score", Kind.SHARE, "Leaning toward luxury, 0 to 1.", minimum=0, maximum=1),
            _category("preferred_channel", "Channel the customer prefers to be reached by."),
        ),
    ),
    Table(
        "loyalty_memberships",
        "One row per member of the loyalty programme.",
        (
            _key("customer_id", CUSTOMER_ID, references="customers"),
            Column("tier", Kind.CATEGORY, "Loyalty tier.", one_of=("bronze", "silver", "gold", "platinum")),
            Column("points", Kind.INTEGER, "Points on the account.", minimum=0, maximum=1e9),
            _past("joined_on", "When the customer joined.", Kind.DATE),
        ),
    ),
    Table(
        "retailers",
        "One row per retailer that sells through this shop.",
        (
            _key("retailer_id", "The retailer."),
            Column("name", Kind.TEXT, "Name of the retailer."),
            _category("country", "Country of the retailer."),
            _past("created_at", "When the retailer joined (naive UTC)."),
        ),
    ),
    Table(
        "stores",
        "One row per store or warehouse that holds stock.",
        (
            _key("store_id", "The store."),
            _ref("retailer_id", "retailers", "The retailer the store belongs to.", is_required=False),
            Column("name", Kind.TEXT, "Name of the store."),
            _category("city", "City of the store."),
            _category("region", "Region of the store."),
            _category("country", "Country of the store."),
            _past("opened_on", "Opening day.", Kind.DATE),
        ),
    ),
    Table(
        "products",
        "One row per product in the catalogue.",
        (
            _key("product_id", PRODUCT_ID),
            _ref("retailer_id", "retailers", "The retailer who sells the product.", is_required=False),
            Column("sku", Kind.TEXT, "Stock keeping unit."),
            Column("name", Kind.TEXT, "Name of the product."),
            _category("brand", "Brand."),
            _category("category", "Category."),
            _category("subcategory", "Subcategory."),
            _money("list_price", "List price per unit in the source's currency."),
            _money("unit_cost", "Purchase cost per unit in the source's currency."),
            _past("launched_on", "First day on sale.", Kind.DATE),
            Column("is_active", Kind.BOOLEAN, "False when the product is discontinued."),
        ),
    ),
    Table(
        "inventory",
        "One row per product and store: the newest count.",
        (
            _key("product_id", PRODUCT_ID, references="products"),
            _key("store_id", "The store.", references="stores"),
            Column("stock_quantity", Kind.QUANTITY, "Units on stock.", minimum=0, maximum=1e9),
            Column("reorder_point", Kind.QUANTITY, "Stock at which new units are ordered.", minimum=0,
                   maximum=1e9),
            _past("counted_at", "When the stock was counted (naive UTC)."),
        ),
    ),
    Table(
        "orders",
        "One row per order.",
        (
            _key("order_id", "The order."),
            _ref("customer_id", "customers", CUSTOMER_ID),
            _ref("store_id", "stores", "The store the order was placed in.", is_required=False),
            _category("channel", "Sales channel."),
            _past("ordered_at", "When the order was placed (naive UTC).", is_required=True),
            Column("status", Kind.CATEGORY, "Order status; completed, shipped and processing count as sales.",
                   is_required=True, one_of=ORDER_STATUSES, synonyms=_STATUS_SYNONYMS),
            Column("currency", Kind.CATEGORY, "ISO 4217 code; only the source's own currency is kept."),
            _category("coupon_code", "Coupon used, if any."),
        ),
    ),
    Table(
        "order_items",
        "One row per order line.",
        (
            _key("order_item_id", "The order line."),
            _ref("order_id", "orders", "The order the line belongs to."),
            _ref("product_id", "products", PRODUCT_ID, is_required=False),
            Column("quantity", Kind.QUANTITY, "Units sold on the line.", is_required=True, minimum=0.001,
                   maximum=LARGEST_QUANTITY),
            _money("unit_price", "Price per unit before the discount on the line."),
            _money("discount_amount", "Discount on the whole line."),
            _money("line_amount", "Money for the line when the source gives it; wins over quantity times price."),
        ),
    ),
    Table(
        "payments",
        "One row per payment.",
        (
            _key("payment_id", "The payment."),
            _ref("order_id", "orders", "The order that was paid."),
            _category("method", "Means of payment."),
            _money("amount", "Amount paid.", is_required=True),
            _past("paid_at", "When it was paid (naive UTC)."),
        ),
    ),
    Table(
        "returns",
        "One row per returned line or part of a line.",
        (
            _key("return_id", "The return."),
            _ref("order_item_id", "order_items", "The line that was returned."),
            _past("returned_at", "When it came back (naive UTC)."),
            Column("quantity", Kind.QUANTITY, "Units returned.", minimum=0.001, maximum=LARGEST_QUANTITY),
            Column("reason", Kind.TEXT, "Why, in the customer's words.", is_free_text=True),
        ),
    ),
    Table(
        "product_events",
        "One row per thing a customer did with a product on the site or in the app.",
        (
            _key("event_id", "The event."),
            _ref("customer_id", "customers", CUSTOMER_ID),
            _ref("product_id", "products", PRODUCT_ID, is_required=False),
            _past("occurred_at", "When it happened (naive UTC).", is_required=True),
            Column("action", Kind.CATEGORY, "What the customer did.", one_of=EVENT_ACTIONS,
                   synonyms={"cart": "add_to_cart", "add to cart": "add_to_cart", "pageview": "view",
                             "page_view": "view", "favourite": "wishlist"}),
            _category("page", "Kind of page."),
            _category("click_source", "Where the visit came from."),
            Column("dwell_seconds", Kind.NUMBER, "Seconds on the page.", minimum=0, maximum=86_400),
        ),
    ),
    Table(
        "campaigns",
        "One row per campaign the shop has run or plans to run.",
        (
            _key("campaign_id", "The campaign."),
            Column("name", Kind.TEXT, "Name of the campaign."),
            _category("channel", "Channel of the campaign."),
            Column("starts_on", Kind.DATE, "First day.", is_required=True),
            Column("ends_on", Kind.DATE, "Last day."),
            _money("budget", "Budget in the source's currency."),
        ),
    ),
    Table(
        "campaign_contacts",
        "One row per campaign and customer chosen for it, in the treated or the held-out control arm.",
        (
            _key("campaign_id", "The campaign.", references="campaigns"),
            _key("customer_id", CUSTOMER_ID, references="customers"),
            Column("arm", Kind.CATEGORY, "treated was contacted, control was held out at random.",
                   is_required=True, one_of=ARMS,
                   synonyms={"treatment": "treated", "test": "treated", "holdout": "control",
                             "held out": "control"}),
            _past("contacted_at", "When the message went out (naive UTC); null for control."),
        ),
    ),
    Table(
        "campaign_responses",
        "One row per response of a customer to a campaign.",
        (
            _key("response_id", "The response."),
            _ref("campaign_id", "campaigns", "The campaign."),
            _ref("customer_id", "customers", CUSTOMER_ID),
            Column("kind", Kind.CATEGORY, "What the customer did.", is_required=True, one_of=RESPONSE_KINDS,
                   synonyms={"opened": "open", "clicked": "click", "purchase": "conversion",
                             "converted": "conversion", "unsubscribed": "unsubscribe", "spam": "complaint"}),
            _past("occurred_at", "When (naive UTC)."),
            _money("amount", "Money spent, for conversions."),
        ),
    ),
    Table(
        "reviews",
        "One row per product review.",
        (
            _key("review_id", "The review."),
            _ref("customer_id", "customers", CUSTOMER_ID),
            _ref("product_id", "products", PRODUCT_ID),
            Column("rating", Kind.INTEGER, "Stars, 1 to 5.", minimum=1, maximum=5),
            Column("body", Kind.TEXT, "The review, in the customer's words.", is_free_text=True),
            _past("reviewed_at", "When (naive UTC)."),
        ),
    ),
    Table(
        "customer_attributes",
        "One row per customer: standard features given ready-made, and any further columns the source has.",
        (
            _key("customer_id", CUSTOMER_ID, references="customers"),
            # Standard features a source without orders may give itself; orders win over them.
            Column("recency_days", Kind.NUMBER, "Days since the last purchase.", minimum=0),
            Column("order_count", Kind.NUMBER, "Number of orders.", minimum=0),
            _money("monetary_amount", "Money spent in all."),
            _money("average_order_amount", "Money spent per order."),
            Column("return_share", Kind.SHARE, "Share of purchases returned.", minimum=0, maximum=1),
            Column("discount_share", Kind.SHARE, "Share of money given as discount.", minimum=0, maximum=1),
            Column("tenure_days", Kind.NUMBER, "Days as a customer.", minimum=0),
        ),
        is_open=True,
    ),
)  # fmt: skip

#: Every contract table by name, parents before children.
CONTRACT: dict[str, Table] = {
    name: next(table for table in _TABLES if table.name == name)
    for name in (
        "customers", "retailers", "stores", "products", "campaigns", "contacts", "demographics", "preferences",
        "loyalty_memberships", "customer_attributes", "inventory", "orders", "order_items", "payments", "returns",
        "product_events", "campaign_contacts", "campaign_responses", "reviews",
    )
}  # fmt: skip

#: The same without the tables that live in the people database.
WAREHOUSE_TABLES: tuple[str, ...] = tuple(name for name, table in CONTRACT.items() if not table.is_personal)
