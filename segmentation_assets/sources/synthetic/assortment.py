"""The shop's assortment in words: categories, their subcategories, and the (invented) brands.

Only declarations. `catalogue` turns them into products with prices, costs and stock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subcategory:
    """A shelf: three kinds of goods, each in every variant. `price` is a middle price of the first variant."""

    name: str
    price: float
    goods: tuple[str, str, str]
    variants: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Category:
    """A department.

    `weight` its share of everyone's lines before scaling, `margin` of the list price kept, `rebuy` how likely a
    customer who thinks of an earlier product from here buys it again, `units` the mean quantity on a line, `season`
    twelve monthly factors.
    """

    name: str
    weight: float
    margin: float
    rebuy: float
    units: float
    brands: tuple[str, ...]
    season: tuple[float, ...]
    shelves: tuple[Subcategory, ...]


#: Price level of each brand: 1 is the middle of its category.
BRAND_LEVELS: dict[str, float] = {
    "Kaldi & Sons": 1.0, "Nordröst": 1.35, "Morning Mule": 0.75, "Alto Verde": 1.1,
    "Tavola Mia": 1.0, "Peppercorn Lane": 1.3, "Gut & Günstig Hof": 0.75, "Maison Lavande": 1.45,
    "Weingut Sonnhang": 1.0, "Casa Bermeja": 0.8, "Old Harbour Distillers": 1.3,
    "Kupferkind": 1.4, "Plainware": 0.75, "Steelyard": 1.0,
    "Hyggelig": 1.05, "Loft & Linen": 1.4, "Simpel": 0.7,
    "Grünspan": 1.0, "Rootwell": 0.8,
    "Aurelie": 1.5, "Puro Botanics": 1.05, "Daily Bloom": 0.7,
    "Vitalis Nord": 1.05, "CareLeaf": 0.85,
    "Fjellgut": 1.4, "Trailmark": 1.0, "Kickstart": 0.7,
    "Lantern Press": 1.0, "Puzzlewerk": 1.1,
    "Volta": 1.0, "Sonora": 1.4, "Basiq": 0.65,
    "Pawsome": 0.95, "Waldtier": 1.3,
}  # fmt: skip

_SIZES = (("small", 0.7), ("medium", 1.0), ("large", 1.4))
_PACKS = (("250 g", 1.0), ("500 g", 1.8), ("1 kg", 3.3))
_BOTTLES = (("0.75 l", 1.0), ("6 x 0.75 l", 5.5), ("gift box", 2.2))
_SETS = (("single", 1.0), ("set of 2", 1.8), ("set of 4", 3.3))
_COLOURS = (("sand", 1.0), ("charcoal", 1.05), ("forest green", 1.05))
_FLAVOURS = (("classic", 1.0), ("organic", 1.25), ("family pack", 2.1))
_LEVELS = (("Start", 0.75), ("Plus", 1.15), ("Pro", 1.8))

CATEGORIES: tuple[Category, ...] = (
    Category("Coffee & Tea", 1.25, 0.42, 1.0, 1.6, ("Kaldi & Sons", "Nordröst", "Morning Mule", "Alto Verde"),
             (1.15, 1.1, 1.0, 0.95, 0.9, 0.8, 0.8, 0.8, 0.95, 1.1, 1.2, 1.3), (
        Subcategory("Coffee Beans", 9.0, ("House Espresso Beans", "Ethiopia Single Origin Beans", "Decaf Crema Beans"),
                    _PACKS),
        Subcategory("Tea", 6.0, ("Earl Grey Loose Leaf", "Sencha Green Tea", "Alpine Herb Infusion"),
                    (("100 g", 1.0), ("250 g", 2.2), ("tasting tin", 2.6))),
        Subcategory("Capsules & Pods", 5.0, ("Ristretto Capsules", "Lungo Capsules", "Vanilla Latte Pods"),
                    (("10 pieces", 1.0), ("50 pieces", 4.4), ("100 pieces", 8.2))),
        Subcategory("Brewing", 34.0, ("Pour-over Set", "French Press", "Hand Grinder"), _SIZES))),
    Category("Gourmet Food", 1.2, 0.35, 0.9, 1.8,
             ("Tavola Mia", "Peppercorn Lane", "Gut & Günstig Hof", "Maison Lavande"),
             (0.85, 0.9, 0.95, 1.0, 0.95, 0.9, 0.85, 0.85, 0.95, 1.0, 1.25, 1.65), (
        Subcategory("Oil & Vinegar", 9.5, ("Extra Virgin Olive Oil", "Balsamic Vinegar", "Walnut Oil"),
                    (("250 ml", 1.0), ("500 ml", 1.7), ("1 l", 3.0))),
        Subcategory("Chocolate & Sweets", 4.2, ("Dark Chocolate 70%", "Salted Caramels", "Almond Nougat"), _FLAVOURS),
        Subcategory("Spices & Salt", 5.2, ("Smoked Paprika", "Sea Salt Flakes", "Garam Masala"),
                    (("jar", 1.0), ("refill bag", 1.6), ("gift trio", 3.0))),
        Subcategory("Pasta & Sauces", 3.8, ("Bronze-cut Linguine", "Basil Pesto", "Arrabbiata Sauce"), _FLAVOURS))),
    Category("Wine & Spirits", 0.95, 0.33, 0.85, 1.9, ("Weingut Sonnhang", "Casa Bermeja", "Old Harbour Distillers"),
             (0.75, 0.85, 0.9, 0.95, 1.0, 1.05, 1.0, 0.95, 1.0, 1.05, 1.2, 1.6), (
        Subcategory("Red Wine", 11.0, ("Tempranillo Crianza", "Pinot Noir", "Primitivo"), _BOTTLES),
        Subcategory("White Wine", 9.5, ("Riesling trocken", "Grüner Veltliner", "Verdejo"), _BOTTLES),
        Subcategory("Spirits", 27.0, ("London Dry Gin", "Single Malt Whisky", "Aged Rum"),
                    (("0.5 l", 1.0), ("0.7 l", 1.3), ("gift box", 1.8))))),
    Category("Kitchen & Dining", 1.0, 0.45, 0.3, 1.2, ("Kupferkind", "Plainware", "Steelyard"),
             (1.0, 0.95, 0.95, 0.95, 0.95, 0.9, 0.85, 0.9, 1.0, 1.0, 1.2, 1.35), (
        Subcategory("Cookware", 59.0, ("Cast Iron Casserole", "Carbon Steel Pan", "Stock Pot"), _SIZES),
        Subcategory("Knives & Tools", 32.0, ("Chef's Knife", "Bread Knife", "Chopping Board"), _SIZES),
        Subcategory("Bakeware", 18.0, ("Springform Tin", "Loaf Tin", "Silicone Baking Mat"), _SIZES),
        Subcategory("Tableware", 14.0, ("Stoneware Plate", "Wine Glass", "Espresso Cup"), _SETS))),
    Category("Home & Living", 1.0, 0.5, 0.25, 1.2, ("Hyggelig", "Loft & Linen", "Simpel"),
             (1.1, 1.0, 1.0, 1.0, 0.95, 0.85, 0.85, 0.9, 1.0, 1.1, 1.1, 1.15), (
        Subcategory("Bedding", 49.0, ("Linen Duvet Cover", "Feather Pillow", "Wool Blanket"), _COLOURS),
        Subcategory("Storage", 24.0, ("Woven Basket", "Linen Box", "Wall Shelf"), _SIZES),
        Subcategory("Lighting", 64.0, ("Table Lamp", "Floor Lamp", "Reading Light"), _COLOURS),
        Subcategory("Candles & Scents", 15.0, ("Soy Candle Fig", "Reed Diffuser Cedar", "Room Spray Linen"), _SIZES))),
    Category("Garden", 0.75, 0.4, 0.3, 1.4, ("Grünspan", "Rootwell", "Steelyard"),
             (0.4, 0.6, 1.3, 1.8, 1.8, 1.4, 1.1, 0.95, 0.9, 0.75, 0.5, 0.5), (
        Subcategory("Seeds & Bulbs", 3.6, ("Wildflower Meadow Seeds", "Tulip Bulbs", "Tomato Seeds"),
                    (("1 bag", 1.0), ("3 bags", 2.6), ("garden set", 4.8))),
        Subcategory("Garden Tools", 28.0, ("Pruning Shears", "Hand Trowel", "Watering Can"), _LEVELS),
        Subcategory("Outdoor Living", 89.0, ("Folding Chair", "Fire Bowl", "Parasol"), _COLOURS))),
    Category("Beauty", 1.05, 0.55, 0.75, 1.2, ("Aurelie", "Puro Botanics", "Daily Bloom"),
             (0.95, 1.05, 1.0, 1.0, 1.05, 0.95, 0.9, 0.9, 0.95, 0.95, 1.15, 1.3), (
        Subcategory("Skin Care", 22.0, ("Hydrating Day Cream", "Vitamin C Serum", "Cleansing Balm"),
                    (("30 ml", 0.8), ("50 ml", 1.0), ("100 ml", 1.7))),
        Subcategory("Hair Care", 11.0, ("Repair Shampoo", "Argan Conditioner", "Sea Salt Spray"),
                    (("150 ml", 0.8), ("250 ml", 1.0), ("500 ml", 1.7))),
        Subcategory("Fragrance", 52.0, ("Eau de Parfum Néroli", "Eau de Toilette Vetiver", "Cologne Citron"),
                    (("30 ml", 0.75), ("50 ml", 1.0), ("100 ml", 1.6))))),
    Category("Health & Wellness", 0.9, 0.48, 0.7, 1.3, ("Vitalis Nord", "CareLeaf"),
             (1.3, 1.15, 1.05, 0.95, 0.9, 0.85, 0.8, 0.85, 1.0, 1.1, 1.1, 0.95), (
        Subcategory("Vitamins", 13.0, ("Vitamin D3", "Omega 3 Capsules", "Magnesium Complex"),
                    (("30 days", 1.0), ("90 days", 2.5), ("180 days", 4.5))),
        Subcategory("Sleep & Relaxation", 17.0, ("Lavender Pillow Mist", "Weighted Eye Mask", "Evening Herb Bath"),
                    _SIZES),
        Subcategory("Pregnancy & Baby Health", 18.0,
                    ("Folic Acid Tablets", "Stretch Mark Oil", "Baby Thermometer"), _LEVELS))),
    Category("Sports & Outdoor", 1.05, 0.42, 0.35, 1.1, ("Fjellgut", "Trailmark", "Kickstart"),
             (1.15, 0.95, 1.0, 1.1, 1.15, 1.15, 1.1, 1.05, 1.0, 0.85, 0.8, 0.9), (
        Subcategory("Hiking", 79.0, ("Day Pack", "Trekking Poles", "Rain Jacket"), _SIZES),
        Subcategory("Fitness", 29.0, ("Yoga Mat", "Kettlebell", "Resistance Bands"), _LEVELS),
        Subcategory("Running", 26.0, ("Running Belt", "Merino Running Socks", "Reflective Vest"), _SIZES),
        Subcategory("Cycling", 36.0, ("Bike Light Set", "Cycling Gloves", "Multi-tool"), _LEVELS))),
    Category("Books & Games", 1.0, 0.32, 0.1, 1.1, ("Lantern Press", "Puzzlewerk"),
             (0.95, 0.9, 0.9, 0.9, 0.85, 0.85, 1.0, 0.95, 0.9, 0.95, 1.3, 1.75), (
        Subcategory("Cookbooks", 26.0, ("One-pot Dinners", "The Bread Book", "Vegetables First"),
                    (("paperback", 0.8), ("hardcover", 1.2), ("special edition", 1.9))),
        Subcategory("Novels", 15.0, ("The Lighthouse Year", "A House in Trieste", "Snow on the Canal"),
                    (("paperback", 0.8), ("hardcover", 1.5), ("audio book", 1.3))),
        Subcategory("Board Games", 34.0, ("Harbour Masters", "Castle Builders", "Night Train"),
                    (("base game", 1.0), ("extension", 0.6), ("big box", 1.8))),
        Subcategory("Puzzles", 17.0, ("Alpine Panorama Puzzle", "Old Map Puzzle", "Botanical Puzzle"),
                    (("500 pieces", 0.8), ("1,000 pieces", 1.0), ("2,000 pieces", 1.6))))),
    Category("Electronics", 0.95, 0.22, 0.15, 1.0, ("Volta", "Sonora", "Basiq"),
             (1.0, 0.9, 0.9, 0.85, 0.85, 0.9, 0.9, 0.95, 1.0, 1.0, 1.55, 1.4), (
        Subcategory("Audio", 89.0, ("Wireless Headphones", "Bluetooth Speaker", "Earbuds"), _LEVELS),
        Subcategory("Smart Home", 44.0, ("Smart Plug", "Motion Sensor", "Smart Thermostat"), _LEVELS),
        Subcategory("Kitchen Appliances", 79.0, ("Electric Kettle", "Hand Blender", "Toaster"), _LEVELS),
        Subcategory("Accessories", 19.0, ("USB-C Charger", "Power Bank", "Cable Kit"), _LEVELS))),
    Category("Pets", 0.9, 0.38, 0.95, 1.7, ("Pawsome", "Waldtier"),
             (1.0,) * 12, (
        Subcategory("Dog Food", 12.0, ("Salmon & Potato Kibble", "Beef Wet Food", "Dental Chews"),
                    (("small pack", 1.0), ("medium pack", 2.2), ("large pack", 4.6))),
        Subcategory("Cat Food", 9.0, ("Chicken Kibble", "Tuna Wet Food", "Catnip Bites"),
                    (("small pack", 1.0), ("medium pack", 2.2), ("large pack", 4.6))),
        Subcategory("Small Animals & Birds", 6.0, ("Meadow Hay", "Bird Seed Mix", "Rabbit Pellets"), _SIZES),
        Subcategory("Pet Accessories", 21.0, ("Dog Bed", "Scratching Post", "Reflective Leash"), _SIZES))),
)  # fmt: skip

CATEGORY_NAMES = tuple(category.name for category in CATEGORIES)

RETAILERS = (
    ("R001", "Marktplatz Direkt", "Germany"),
    ("R002", "Alpenhandel", "Austria"),
    ("R003", "De Goede Winkel", "Netherlands"),
    ("R004", "Comptoir du Nord", "France"),
    ("R005", "Mercato Vivo", "Italy"),
    ("R006", "Harbour Goods", "Ireland"),
)
