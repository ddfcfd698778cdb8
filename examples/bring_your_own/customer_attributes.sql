-- One row per customer: columns the contract does not know. The type of the SELECT is kept: a number is a feature.
select
    "Kundennr" as customer_id,
    replace("Entfernung km", ',', '.')::double as distance_km,
    "Bemerkung" as remark
from read_csv('kunden.csv', delim = ';', quote = '"', header = true, all_varchar = true)
