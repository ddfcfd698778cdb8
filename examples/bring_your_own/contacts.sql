-- One row per customer: what names a person. It goes to people.duckdb and nowhere else.
select
    "Kundennr" as customer_id,
    "E-Mail" as email,
    "Vorname" as first_name,
    "Nachname" as last_name
from read_csv('kunden.csv', delim = ';', quote = '"', header = true, all_varchar = true)
