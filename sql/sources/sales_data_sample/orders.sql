-- One row per order, from its first line. A date that is none stays as it is: cleaning rejects it and says why.
select
    ORDERNUMBER as order_id,
    trim(CUSTOMERNAME) as customer_id,
    coalesce(try_strptime(ORDERDATE, '%m/%d/%Y %H:%M')::varchar, ORDERDATE) as ordered_at,
    case STATUS
        when 'Shipped' then 'shipped'
        when 'Resolved' then 'completed'
        when 'In Process' then 'processing'
        when 'On Hold' then 'processing'
        when 'Disputed' then 'processing'
        when 'Cancelled' then 'cancelled'
        else STATUS
    end as status,
    'USD' as currency
from read_csv('sales_data_sample.csv', header = true, all_varchar = true, nullstr = '')
qualify row_number() over (partition by ORDERNUMBER order by ORDERLINENUMBER::bigint) = 1
order by ORDERNUMBER::bigint
