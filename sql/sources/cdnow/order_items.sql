-- One row per purchase: the number of discs and the money for all of them. Which discs, the file does not say.
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
    fields[1] || '-' || row_number() over (partition by fields[1] order by position) as order_item_id,
    order_item_id as order_id,
    fields[4] as quantity,
    fields[5] as line_amount
from purchases
order by position
