-- One row per customer: the contact person and the address of the newest order. The file has no e-mail address.
select
    trim(CUSTOMERNAME) as customer_id,
    CONTACTFIRSTNAME as first_name,
    CONTACTLASTNAME as last_name,
    PHONE as phone,
    concat_ws(', ', ADDRESSLINE1, ADDRESSLINE2) as street,
    POSTALCODE as postal_code
from read_csv('sales_data_sample.csv', header = true, all_varchar = true, nullstr = '')
qualify row_number() over (
    partition by trim(CUSTOMERNAME)
    order by
        try_strptime(ORDERDATE, '%m/%d/%Y %H:%M') desc nulls last,
        ORDERNUMBER::bigint desc,
        ORDERLINENUMBER::bigint
) = 1
order by customer_id
