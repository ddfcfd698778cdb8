-- One row per product code; the newest order's line and list price.
select
    PRODUCTCODE as product_id,
    PRODUCTCODE as sku,
    PRODUCTLINE as category,
    MSRP as list_price
from read_csv('sales_data_sample.csv', header = true, all_varchar = true, nullstr = '')
qualify row_number() over (
    partition by PRODUCTCODE
    order by
        try_strptime(ORDERDATE, '%m/%d/%Y %H:%M') desc nulls last,
        ORDERNUMBER::bigint desc,
        ORDERLINENUMBER::bigint
) = 1
order by product_id
