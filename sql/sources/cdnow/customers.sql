-- One row per customer: the first field is the master id, the second the number within the sample.
with
    purchases as (
        select string_split_regex(trim(line), ' +') as fields
        from read_csv(
            'cdnow_sample.txt', header = false, delim = '\t', quote = '', escape = '', columns = {'line': 'VARCHAR'}
        )
    )

select distinct fields[1] as customer_id
from purchases
order by customer_id
