-- One row per product. 1.290,00 is 1290.00: the separator of thousands goes, the decimal comma becomes a point.
select
    "Artikelnr" as product_id,
    "Artikelnr" as sku,
    "Bezeichnung" as name,
    "Marke" as brand,
    "Warengruppe" as category,
    replace(replace("Listenpreis", '.', ''), ',', '.') as list_price,
    replace(replace("Einkaufspreis", '.', ''), ',', '.') as unit_cost
from read_csv('artikel.csv', delim = ';', quote = '"', header = true, all_varchar = true)
