-- One row per customer. all_varchar keeps every value as it was written; cleaning casts it and says what it cannot read.
-- A date that is none stays as it is, so that the row is rejected with its value instead of losing it here.
select
    "Kundennr" as customer_id,
    "Geburtsjahr" as birth_year,
    "Ort" as city,
    "Land" as country,
    coalesce(try_strptime("Kunde seit", '%d.%m.%Y')::varchar, "Kunde seit") as signed_up_at,
    case "Newsletter" when 'ja' then 'true' when 'nein' then 'false' else "Newsletter" end as email_consent
from read_csv('kunden.csv', delim = ';', quote = '"', header = true, all_varchar = true)
