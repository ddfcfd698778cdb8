-- One row per purchase, numbered within its customer in the order of the file: two purchases on one day are two
-- orders. The order id is the same in order_items. Every purchase in the file was paid.
with
    purchases as (
        select
            row_number() over () as position,
            string_split_regex(trim(line), ' +') as fields
        from read_csv(
            'cdnow_sample.txt', header = false, delim = '\t', quote = '', escape = '', columns = {'line': 'VARCHAR'}
        )
    )

select
    fields[1] || '-' || row_number() over (partition by fields[1] order by position) as order_id,
    fields[1] as customer_id,
    fields[3][1:4] || '-' || fields[3][5:6] || '-' || fields[3][7:8] as ordered_at,
    'completed' as status,
    'USD' as currency
from purchases
order by position
