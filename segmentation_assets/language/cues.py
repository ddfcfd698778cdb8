"""Which words go with which fact: the vocabulary by which a figure in the wrong place is noticed.

What belongs here: the subject matter of a fact by its key, the words of each subject matter, and frames, which are
wordings around a figure that allow only some units or some subjects ("spent ..", ".. of the revenue", ".. ago").
What does not: the verdict on a text (`grounding`).

A key that is not known here has no subject matter, so only the frames of units speak about it. Where the words around
a figure say nothing, nothing is found: the vocabulary is there to catch contradictions, not to prescribe wordings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from segmentation_assets.language.facts import DeltaUnit, Fact, FactKind

#: Every class of writing, one letter each: see `writing_class`.
ALL_CLASSES = frozenset("MSDCKRTNXVmspdc")

_CLASS_OF_KIND = {
    FactKind.MONEY: "M", FactKind.SHARE: "S", FactKind.DAYS: "D", FactKind.COUNT: "C", FactKind.RANK: "R",
    FactKind.DATE: "T", FactKind.NAME: "N", FactKind.TEXT: "X",
}  # fmt: skip
_CLASS_OF_UNIT = {
    DeltaUnit.RELATIVE: "s", DeltaUnit.POINTS: "p", DeltaUnit.DAYS: "d", DeltaUnit.COUNT: "c", DeltaUnit.MONEY: "m",
}  # fmt: skip


def writing_class(fact: Fact, form: str | None) -> str:
    """How a fact stands in a text, as one letter.

    M money, S share, D days, C count, K "4 times", R rank, T date, N name, X text; V a delta with its own direction
    word ("12% above"); s p d c m a delta without one (a share, percentage points, days, a count, money).
    """
    if fact.kind is FactKind.DELTA:
        return _CLASS_OF_UNIT[fact.unit] if form in {None, "", "size"} else "V"
    return "K" if form == "times" else _CLASS_OF_KIND[fact.kind]


@dataclass(frozen=True)
class Topic:
    """A subject matter. `groups`: what its facts can be (money, share, days, count, rank, delta).

    `own` are words that speak for the topic's own facts, `other` those that speak against facts of other topics; the
    latter are fewer where words are too common to prove anything. `is_required`: its facts say something else when
    none of their words is near ("120 customers" for the 120 who can be reached).
    """

    name: str
    groups: frozenset[str]
    own: re.Pattern[str]
    other: re.Pattern[str] | None
    is_required: bool = False


def _words(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<![\w-])(?:{words})(?![\w-])")


def _topic(name: str, groups: str, own: str, other: str | None = "", *, is_required: bool = False) -> Topic:
    against = None if other is None else _words(other or own)
    return Topic(name, frozenset(groups.split()), _words(own), against, is_required)


_SEASONS = "spring", "summer", "autumn", "winter"
_PEOPLE = (
    "customers?|people|persons|shoppers?|buyers?|regulars|newcomers|members|subscribers|recipients|households|"
    "accounts|former customers"
)
_REACH = (
    "reach\\w*|unreach\\w*|e-?mails?|mailing|consent\\w*|contact\\w*|written to|write to|opt(?:ed)?[ -]in|agreed|"
    "subscri\\w+|newsletters?|addresses"
)
_NO_REACH = (
    "unreach\\w*|cannot|can['’]t|not (?:be )?(?:reach|agree|contact|subscri)\\w*|no (?:e-?mail )?(?:consent|address)|"
    "without|out of reach|others?|rest|remaining|never agreed|nobody|missing|lack\\w*|beyond"
)

_TOPICS = (
    _topic(
        "customers", "count share delta rank",
        f"{_PEOPLE}|group\\w*|segment\\w*|axis|size|big\\w*|large\\w*|small\\w*|of all|base|audience\\w*|everyone|"
        "head ?count|them|grew|shrank|run",
        None,
    ),
    _topic("reachable", "count share", _REACH, None, is_required=True),
    _topic("unreachable", "count", _NO_REACH, None, is_required=True),
    _topic(
        "revenue", "money share delta rank",
        "revenues?|sales|turnover|takings|income|earns?|earned|earning|money|brought in|brings? in|bring in|generated",
        "revenues?|sales|turnover|takings|income",
    ),
    _topic(
        "recency", "days delta",
        "ago|last (?:bought|order\\w*|purchase\\w*|seen|visit\\w*|active|time)|silen\\w+|since|quiet|stay\\w* away|"
        "recen\\w+|absen\\w+|overdue|inactiv\\w+|gone",
        "last (?:bought|order\\w*|purchase\\w*|seen|visit\\w*|active)|silen\\w+|inactiv\\w+|ago",
    ),
    _topic(
        "orders", "count delta",
        "orders|ordered|ordering|order (?:often|more|less|again|seldom)|purchas\\w+|bought|buy|times|frequen\\w+|often|"
        "shopped",
        "ordered|order often|orders placed|placed|frequen\\w+|order(?:s)? more often",
    ),
    _topic(
        "spend", "money delta",
        "spen[dt]\\w*|paid|pays?|in all|in total|lifetime|altogether|to date|worth|over time",
        "spen[dt]\\w*|paid|lifetime",
    ),
    _topic(
        "basket", "money delta",
        "baskets?|per order|an order|each order|an average order|order value|at a time|average order|"
        "orders? (?:is|are) worth|invoices?|orders? comes? to",
        "usual baskets?|baskets?(?: \\w+)? (?:is|are|of)|per order|an order comes|order value|average (?:order|basket)|"
        "baskets:?",
    ),
    _topic(
        "tenure", "days delta",
        "joined|tenure|customers? (?:for|since)|been (?:customers|with)|with (?:us|the shop) for|known|relationship|"
        "first (?:order|bought|purchase)|signed up",
        "joined|tenure|been customers|signed up",
    ),
    _topic(
        "pause", "days delta",
        "pauses?|every|between (?:orders|two|visits|purchases)|c[oa]mes? back|back after|return after|wait\\w*|rhythm|"
        "interval\\w*|gap|about time|next order",
        "pauses?|between (?:orders|two|visits|purchases)|c[oa]mes? back|wait|interval",
    ),
    _topic(
        "discount", "share delta",
        "discount\\w*|reduc\\w+|sav(?:e|es|ed|ing|ings)|prices?|off|sale|bargain\\w*|cheap\\w*",
        "discount\\w*|reductions?|saved|off",
    ),
    _topic(
        "offer", "share", "discount\\w*|reduc\\w+|off|offer\\w*|give|less|sav(?:e|ing|ings)", None, is_required=True,
    ),
    _topic("coupon", "share delta", "coupons?|vouchers?|codes?"),
    _topic(
        "returns", "share delta",
        "return(?:s|ed|ing)?|sen[dt]s? back|go(?:es)? back|refund\\w*|sent back",
        "returns|returned|sen[dt]s? back|refund\\w*",
    ),
    _topic("weekend", "share delta", "weekends?|weekdays?|saturdays?|sundays?"),
    _topic(
        "response", "share delta",
        "respon\\w+|answer\\w*|campaigns?|react\\w*|repl(?:y|ied|ies)|e-?mails?",
        "respon(?:ded|ses?)|answered|earlier campaigns",
    ),
    # Each must be said in words of its own: a share of those written to is no share of customers.
    _topic("written", "share delta", "written to|write to|messages?|letters?|mailed|contact\\w*", None,
           is_required=True),
    _topic("messages", "count delta", "messages?|letters?|e-?mails?|mailings?|written to", None, is_required=True),
    _topic("clicked", "share delta", "click\\w*|written to", "clicked", is_required=True),
    _topic("fatigued", "share delta", "fatigue\\w*|tired|without a click|in a row|unanswered", None, is_required=True),
    _topic("unsubscribed", "share delta", "unsubscri\\w+|refus\\w+|no further|opt(?:ed|ing)?[ -]out|written to",
           "unsubscri\\w+", is_required=True),
    _topic("effect", "delta", "left out|control group|measured|campaigns?|effects?|caused|intervals?", None,
           is_required=True),
    _topic(
        "price_level", "share delta",
        "priced|prices|price level|items|level|dear\\w*|inexpensive|expensive|cheap\\w*|premium",
        "priced|price level|usual level|dearer",
    ),
    _topic(
        "events", "count delta",
        "brows\\w+|view\\w*|look(?:s|ed)? at|visit\\w*|events?|click\\w*|sessions?",
        "browsed|viewed|views|looked at|visits|clicks",
    ),
    *(_topic(season, "share delta", f"{season}|seasons?", season) for season in _SEASONS),
    _topic(
        "category", "share delta",
        "(?:order )?lines?|what (?:they|people) \\w+|baskets?|purchases|goods|assortment",
        "(?:order )?lines",
    ),
    _topic("brand", "share delta", "brands?|(?:order )?lines?|what (?:they|people) \\w+|purchases", None),
    _topic("channel", "share delta", "channels?|(?:order )?lines?|through|online|what (?:they|people) \\w+|orders",
           None),
    _topic(
        "stability", "share",
        "agreements?|agrees?|agree to|resampl\\w+|stab\\w+|repeat\\w*|edges|found again|firm|"
               "reproduc\\w+|steady|trust\\w*",
        "resampl\\w+|agreement|stability",
        is_required=True,
    ),
    _topic("minimum_cell", "count", "under|needs?|minimum|require\\w*", None, is_required=True),
    _topic(
        "list_price", "money",
        "instead of|before|was|list|usual(?:ly)?|regular(?:ly)?|full|rather than|not|down from|from|normal(?:ly)?|"
        "original(?:ly)?|otherwise",
        "instead of|list price|down from|rather than|before:?",
        is_required=True,
    ),
    _topic("price", "money", "for|at|costs?|price[ds]?|now|pay|yours|is|from|only|worth|buys?|get", None),
)  # fmt: skip

TOPICS: dict[str, Topic] = {topic.name: topic for topic in _TOPICS}

_KEYS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), topic)
    for pattern, topic in (
        (r"^(?:segment_|audience_)?customers(?:_change)?$|^customer_share$|^size_rank$", "customers"),
        (r"^reachable(?:_share|_customers)?$", "reachable"),
        (r"^unreachable$", "unreachable"),
        (r"^revenue(?:_share|_rank|_lean|_share_change)?$", "revenue"),
        (r"^(recency|orders|spend|basket|tenure|pause|coupon|returns|weekend|response|price_level|events)$", ""),
        (r"^(spring|summer|autumn|winter|discount|stability|minimum_cell)$", ""),
        (r"^(written|messages|clicked|fatigued|unsubscribed)$", ""),
        (r"^effect(?:_low|_high)?$", "effect"),
        (r"^offer_discount$", "offer"),
        (r"^(category|brand|channel)\d?(?:_share|_gap)$", ""),
        (r"^(list_price|price)\d$", ""),
    )
)
_SUFFIX = re.compile(r"_(?:shop|gap)$")
_INDEXED = re.compile(r"^(category|brand|channel|product|list_price|price)(\d)(?:_share|_gap)?$")


def stem_of(key: str) -> str:
    """The key without the prefix that says whose it is (`a1.share` -> `share`)."""
    return key.rpartition(".")[2]


def topic_of(key: str) -> Topic | None:
    """The subject matter of a fact by its key; None for names and for keys that are not known here."""
    stem = stem_of(key)
    for candidate in (stem, _SUFFIX.sub("", stem)):
        for pattern, topic in _KEYS:
            if found := pattern.match(candidate):
                return TOPICS[topic or found[1]]
    return None


def family_of(key: str) -> tuple[str, str] | None:
    """Family and number of a fact that belongs to a name (`category2_share` -> category, 2), else None."""
    found = _INDEXED.match(stem_of(key))
    if found is None:
        return None
    family = "product" if found[1] in {"list_price", "price"} else found[1]
    return family, found[2]


def is_shop_wide(key: str) -> bool:
    """Whether the fact is the shop's own figure beside a segment's (`spend_shop`)."""
    return key.endswith("_shop")


def is_change(key: str) -> bool:
    """Whether the fact is a change since the run before (`customers_change`)."""
    return key.endswith("_change")


def group_of(fact: Fact) -> str:
    """The kind of a fact as the groups of topics name it."""
    return fact.kind.value


@dataclass(frozen=True)
class Frame:
    """A wording around a figure: it matches when `left` ends and `right` begins there.

    `allowed` are the classes of writing that can stand in it, `topics` the subject matters (empty: any) that it is
    decisive about, for figures of the classes `judged` only; `is_decisive` frames settle the question for their own.
    """

    left: re.Pattern[str] | None
    right: re.Pattern[str] | None
    allowed: frozenset[str] = ALL_CLASSES
    topics: frozenset[str] = frozenset()
    judged: frozenset[str] = ALL_CLASSES
    is_decisive: bool = True
    says: str = ""

    def matches(self, left: str, right: str) -> bool:
        """Whether a figure between `left` and `right` stands in this frame."""
        return (self.left is None or self.left.search(left) is not None) and (
            self.right is None or self.right.search(right) is not None
        )


_HEDGE = (
    "(?:,? (?:only|just|about|around|roughly|nearly|almost|some|typically|usually|on average,?|a typical|a median of|"
    "an average of|at least|already|as much as|still|another|a total of|well|up to|over the whole relationship|also|"
    "to date|so far|about every))*"
)


def _left(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<![\w-])(?:{words}){_HEDGE} ?\(?$")


def _right(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)^(?:{words})(?![\w-])")


def _units(says: str, allowed: str, left: str = "", right: str = "") -> Frame:
    return Frame(_left(left) if left else None, _right(right) if right else None, allowed=frozenset(allowed), says=says)


_ALL_OF = "(?:all |the |these |our |those |its |their |total |your )*"
_GOODS = (
    "prices?|(?:order )?lines|orders|purchases|items|goods|(?:earlier |past |previous |our )*campaigns|e-mails|"
    "baskets?|what (?:they|it|people)|everything|products|them|these|those|all"
)
_DIRECTION = "above|below|higher|lower|longer|shorter|larger|smaller|greater|faster|slower"

#: Wordings that only some units can stand in.
UNIT_FRAMES: tuple[Frame, ...] = (
    Frame(re.compile(r"(?:[€$£¥₹₩]|\b(?:EUR|USD|GBP|CHF|JPY))\s?$"), None, allowed=frozenset(), says="a currency sign"),
    Frame(None, re.compile(r"(?i)^\s?(?:%|per ?cent\b|percentage\b)"), allowed=frozenset(), says="a percent sign"),
    Frame(
        None, re.compile(r"(?i)^\s?(?:[€£¥₹₩]|(?:euros?|dollars?|pounds|cents|eur|usd|gbp|chf)\b)"),
        allowed=frozenset(), says="a currency",
    ),
    _units("a unit of time", "NX", right=" (?:days?|weeks?|months?|years?|hours?|minutes?)"),
    _units("points", "CNX", right=" points?"),
    _units("'ago'", "DdNX", right=" ago"),
    _units("people", "CcNXV", right=f" (?:{_PEOPLE})"),
    _units("a part of the customers", "SspCcNX",
           right=f" of {_ALL_OF}(?:{_PEOPLE}|customer base|base|everyone|everybody)"),
    _units("a part of the revenue", "SspMNX", right=f" (?:of|in) {_ALL_OF}(?:revenues?|sales|turnover|income|takings)"),
    _units("a part of the whole", "SspCcNX", right=f" of {_ALL_OF}(?:{_GOODS})"),
    _units("a part of the whole", "SspNX", right=f" of {_ALL_OF}(?:what|everything|goods|baskets?)"),
    _units("a part of the price", "SspNX", right=" of (?:the|their|its) prices?"),
    _units("a time", "DdNX", right=" of (?:silence|absence|quiet|inactivity|waiting)"),
    _units("'off'", "SMsmNX", right=" off(?=[ .,;:!?)]|$)"),
    _units("a discount", "SMsmNX", right=" (?:discount|reduction|saved)"),
    _units("'times'", "CcNX", right=" times"),
    _units("a number of things", "CcNXV",
           right=" (?:more |fewer )?(?:orders?|purchases|lines|items|visits|events|views)"),
    _units("a place among segments", "CcNXVR", right=" (?:segments?|groups?)"),
    _units("a comparison", "VmspdcNX", right=" than"),
    _units("a comparison", "VNXT",
           right=" (?:the shop['’]s (?:own|usual|typical|figure|average|share|level|norm|median)|"
           "the shop as a whole|what|their share|its (?:place|share))"),
    _units("a direction", "mspdcNXT", right=f" (?:{_DIRECTION})"),
    _units("money", "MmVNXs", left="spent|spends?|spending(?: is| comes to| of)?|paid|pays?|costs?|priced at|worth|"
           "(?:order|basket|spending) comes to|baskets?(?: is| of|:)|order value(?: is| of|:)?|sets? you back"),
    _units("how often or when", "CKDTVNXdc",
           left="ordered|bought|purchased|placed|(?:they|customers|to|people) order", right="(?! of| worth)[\\s\\S]*"),
    _units("a share of the year", "SspVCcNX", left="in (?:spring|summer|autumn|winter)"),
    _units("the shop's figure", "MSDCKTNX", left="against|versus|compared (?:with|to)"),
    Frame(re.compile(r"^ of $"), None, allowed=frozenset("CNXM"), says="a part of a whole"),
    _units("a price", "MNXT", left="instead of|before:"),
    _units("money", "MmNXV", right=" spent"),
    _units("a number of people", "CSNX", right=" (?:can|cannot|can['’]t|could|may) be (?:reached|written)"),
    _units("a number of people", "CSNX", left="the others?"),
    _units("a date", "TNX", left="until|till|valid through"),
    _units("a time", "DNX", left="every"),
    _units("a time", "DdTNX", left="last (?:bought|ordered|purchased|visited|seen|active|came|order(?: was| came)?|"
           "purchase(?: was)?|visit(?: was)?)"),
    _units("a time", "DdNXTV", left="(?:silent|quiet|inactive|away|customers|with us|been here) for"),
    _units("a time", "DdTVNX", left="between (?:orders|two orders|purchases|visits)(?: is| are| of|:)?|"
           "since (?:the|their) last (?:order|purchase)(?: is| was|:)"),
    _units("a time", "DdNX", left="back after|returns? after"),
    _units("an agreement", "SNX", left="agreements? (?:of|is|to|at)|agree to"),
    _units("a discount", "SMsmNX", left="(?:discount|reduction)s? of"),
    _units("a share", "SspVNX", left="(?:shares?|percentage|proportion|rate)(?: is| was| stands at|:)|"
           "returns stand at|share of (?:revenue|customers|sales|orders|lines) (?:is|was|went)"),
    _units("a number of people", "CNXSVs", left="(?:group|audience|crowd|base) of"),
    _units("a place", "RNX", left="ranks?(?: as| at)?|by (?:size|revenue|spend\\w*|number of customers)"
           "(?: it| the segment)? (?:comes(?: in)?|is|ranks)|by (?:size|revenue|number of customers),?"),
    _units("a movement", "VNX", left="(?:revenue|share|customers) (?:went|has gone|moved)"),
    _units("a difference", "VmspdcNX", left=f"(?:{_DIRECTION}|grew|shrank|rose|fell|rising|falling|than [^.]{{0,40}}|"
           "than|customer|shop['’]s|shop|usual|differs?|difference of) by"),
)  # fmt: skip


def _subject(
    topics: str, left: str = "", right: str = "", judged: str = "MSDCKRVmspdc", *, is_decisive: bool = True
) -> Frame:
    return Frame(
        _left(left) if left else None, _right(right) if right else None, topics=frozenset(topics.split()),
        judged=frozenset(judged), is_decisive=is_decisive, says=(left or right).replace("\\", ""),
    )  # fmt: skip


_THEM = "(?: of (?:them|these|those|its customers))?(?: customers| people| members)?"

#: Wordings that only some subject matters can stand in.
TOPIC_FRAMES: tuple[Frame, ...] = (
    _subject("customers", right=f" (?:more |fewer )?(?:{_PEOPLE})", judged="CcV"),
    _subject("reachable", right=f"{_THEM},? (?:can|could|may) be (?:reached|written)|{_THEM} (?:are|is) reachable|"
             f"{_THEM} (?:have )?agreed to", judged="CS"),
    _subject("reachable unreachable", left="reach(?:es)?", judged="C"),
    Frame(re.compile(r"^ of $"), None, topics=frozenset({"customers"}), judged=frozenset("C"), says="of"),
    _subject("unreachable", right=f"{_THEM} (?:cannot|can't|can not) be (?:reached|written)|{_THEM} (?:are|is) "
             f"(?:un|not )reachable", judged="CS"),
    _subject("customers reachable", right=f" of {_ALL_OF}(?:{_PEOPLE}|customer base|everyone|everybody)|"
             " of all(?=[,.;:)]|$| who| but| and)", judged="CSsp", is_decisive=False),
    _subject("revenue", right=f" of {_ALL_OF}(?:revenues?|sales|turnover|income|takings)", judged="MSsp"),
    _subject("response", right=f" of {_ALL_OF}(?:earlier |past |previous )*campaigns| answered", judged="SspC"),
    _subject("discount offer", right=" of (?:the|their|its) prices?| saved", judged="Ssp"),
    _subject("discount offer", right=" off(?=[ .,;:!?)]|$)| discount| reduction", judged="SsMm"),
    _subject("category brand channel", right=f" of {_ALL_OF}(?:order )?lines", judged="Ssp", is_decisive=False),
    _subject("category brand channel returns", right=f" of {_ALL_OF}(?:purchases|items|goods|what (?:they|it|people))",
             judged="Ssp", is_decisive=False),
    _subject("category brand channel coupon weekend spring summer autumn winter returns",
             right=f" of {_ALL_OF}(?:orders|baskets)", judged="Ssp", is_decisive=False),
    _subject("basket", right=" (?:per|an|each|a) (?:order|basket|purchase)| at a time", judged="Mm"),
    _subject("basket discount offer", right=" (?:per|an|each) (?:order|basket)", judged="SspDRCK"),
    _subject("spend price list_price", left="spent|spends?|spending(?: is| comes to| of)?",
             right="(?! (?:per|an|a|each) (?:order|basket|purchase)| at a time)[\\s\\S]*", judged="M"),
    _subject("spend", right=" (?:in all|in total|altogether|to date|over time|spent)", judged="M"),
    _subject("basket", left="baskets?(?: is| are| of|:| averages?| comes? to)?|order value(?: is| of|:)?|"
             "(?:an|each|their|the average|a typical|the typical) orders?(?: comes? to| is worth| are worth| brings?)|"
             "orders? (?:is|are) worth|(?:average|typical) basket:?", judged="MVsm"),
    _subject("revenue", left="(?:revenue|sales|turnover|takings)(?: of| is| was| comes to| amounts to|:)|"
             "(?:brought|bring|brings|bringing) in", judged="MR"),
    _subject("recency tenure", right=" ago", judged="Dd"),
    _subject("recency", left="last (?:bought|ordered|purchased|visited|seen|active|order(?: was)?|purchase(?: was)?)|"
             "time since [^.]{0,25}|silen(?:t|ce) (?:for|of)|(?:quiet|away|inactive) for|"
             "since (?:the|their) last order:?",
             judged="Dd"),
    _subject("recency", left="(?<!first )(?:bought|ordered|purchased)", right=" ago", judged="Dd"),
    _subject("recency", right=" of (?:silence|absence|quiet|inactivity)", judged="Dd"),
    _subject("tenure",
             left="(?:customers|with us|with the shop|been here|known us|bought here) for|joined", judged="Dd"),
    _subject("pause", left="every|(?:c[oa]mes?|back|returns?) (?:back )?after|wait|"
             "between (?:orders|two orders|purchases|visits)(?: is| are|:)?", judged="Dd"),
    _subject("orders", left="ordered|placed|orders?", judged="CKdc"),
    _subject("orders", right=" orders?", judged="C"),
    _subject("events", left="(?:looked at|viewed|browsed|visited)(?: products| pages)?", judged="CK"),
    _subject("events", right=" (?:visits|views|events)", judged="C"),
    _subject("stability", left="agreements? (?:of|is|to|at)|agree to|stability(?: of| is|:)", judged="Ssp"),
    _subject("returns", left="returns?(?: stand at| are| is| of| at|:)|sen[dt]s? back", judged="Ssp"),
    _subject("discount offer",
             left="(?:discount|reduction)s?(?: make up| of| at|:)|discount share is|saves?", judged="SspM"),
    _subject("weekend", left="weekends?(?: hold| bring| make up| are|:| with)", judged="Ssp"),
    _subject("response", left="answered", judged="Ssp"),
    _subject("list_price", left="instead of|rather than|before:|list price(?: of| is|:)?|down from|,? not", judged="M"),
    _subject("customers", left="by (?:size|number of customers|head ?count),?(?: it| the segment)? ?"
             "(?:comes(?: in)?|is|ranks)?", judged="R"),
    _subject("customers",
             right="(?: segments?)? (?:by|in) (?:size|number of customers|customers|head ?count)", judged="R"),
    _subject("revenue", left="by revenue,?(?: it| the segment)? ?(?:comes(?: in)?|is|ranks)?", judged="R"),
    _subject("revenue", right="(?: segments?)? (?:by|in) revenue", judged="R"),
    *(_subject(season, left=f"in {season}[^,;.]{{0,30}}", judged="Ssp") for season in _SEASONS),
)  # fmt: skip

#: Wordings in which a figure is the shop's own.
SHOP_LEFT = re.compile(
    r"(?i)(?<![\w-])(?:against|versus|vs\.?|compared (?:with|to)|"
    r"the shop['’]s(?: (?!(?:and|but|while|they|their|these|who|whose|where|here)\b)[a-z]+){0,4}|"
    r"the shop(?: as a whole| overall)?(?: is| has| sees| averages| stands at| usually)?|"
    r"shop:|overall)(?: the| a| an| about| around| usual)* ?$"
)
SHOP_RIGHT = re.compile(
    r"(?i)^ (?:for|in|across|over) (?:the |our |a )?(?:whole |entire )?shop(?:['’]s)?\b|"
    r"^ (?:overall|elsewhere|shop-wide)\b"
)
#: Words that must be near a figure of the whole shop.
SHOP_WORDS = _words(
    "shops?|shop['’]s|overall|all customers|everyone|others|other customers|norm(?:al|ally)?|elsewhere|against|versus|"
    "compared|benchmark|average customer|the usual(?= ◆)"
)

#: Words without which a change since the last run is said to be something else.
CHANGE_WORDS = _words(
    "since|before|last (?:run|time)|previous|earlier|went|gone|chang\\w+|grew|grown|shrank|shrunk|moved|up|down|now|"
    "lost|gained|rose|risen|fell|fallen|than in (?:the )?(?:last|previous|earlier)|new|joined|left|month|week|again"
)

#: What ends the reach of a word towards a figure.
BOUNDARY = re.compile(r"(?i)[,;:()–—.!?\n]| (?:and|but|while|whereas|although|though|where|who|whose|which|when|or) ")
