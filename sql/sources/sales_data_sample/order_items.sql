-- One row per order line. PRICEEACH is capped at 100 in the file, so SALES, the money of the line, wins over it.
select
    ORDERNUMBER || '-' || ORDERLINENUMBER as order_item_id,
    ORDERNUMBER as order_id,
    PRODUCTCODE as product_id,
    QUANTITYORDERED as quantity,
    PRICEEACH as unit_price,
    SALES as line_amount
from read_csv('sales_data_sample.csv', header = true, all_varchar = true, nullstr = '')
order by ORDERNUMBER::bigint, ORDERLINENUMBER::bigint
