-- One row per customer, by name. Should the address differ between orders, the newest order's is taken.
-- TERRITORY knows the text NA (North America); only an empty field is unknown.
select
    trim(CUSTOMERNAME) as customer_id,
    CITY as city,
    TERRITORY as region,
    COUNTRY as country
from read_csv('sales_data_sample.csv', header = true, all_varchar = true, nullstr = '')
qualify row_number() over (
    partition by trim(CUSTOMERNAME)
    order by
        try_strptime(ORDERDATE, '%m/%d/%Y %H:%M') desc nulls last,
        ORDERNUMBER::bigint desc,
        ORDERLINENUMBER::bigint
) = 1
order by customer_id
