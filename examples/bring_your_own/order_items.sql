-- One row per order line; order and position make its id. The discount is for the whole line.
select
    "Bestellnr" || '-' || "Pos" as order_item_id,
    "Bestellnr" as order_id,
    "Artikelnr" as product_id,
    replace(replace("Menge", '.', ''), ',', '.') as quantity,
    replace(replace("Einzelpreis", '.', ''), ',', '.') as unit_price,
    replace(replace("Rabatt", '.', ''), ',', '.') as discount_amount
from read_csv('positionen.csv', delim = ';', quote = '"', header = true, all_varchar = true)
