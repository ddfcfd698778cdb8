-- One row per order. The till writes local time; the contract wants UTC. Half past midnight is then still yesterday.
-- The status is told in the contract's words; a word that is not listed here stays, and cleaning rejects it by name.
select
    "Bestellnr" as order_id,
    "Kundennr" as customer_id,
    "Weg" as channel,
    coalesce(
        (try_strptime("Bestellt am", '%d.%m.%Y %H:%M') at time zone 'Europe/Berlin' at time zone 'UTC')::varchar,
        "Bestellt am"
    ) as ordered_at,
    case "Status"
        when 'Geliefert' then 'completed'
        when 'Versendet' then 'shipped'
        when 'Offen' then 'processing'
        when 'Storniert' then 'cancelled'
        else "Status"
    end as status,
    'EUR' as currency,
    "Gutscheincode" as coupon_code
from read_csv('bestellungen.csv', delim = ';', quote = '"', header = true, all_varchar = true)
