-- Where customers have expected orders there are the parameters they came from, all positive, and where they have expected
-- amounts q is above 1.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Make value/customer_lifetime and value/lifetime_model again, together; one of them is of another run.
with needed as (
    select unnest(['r', 'alpha', 'a', 'b']) as parameter, count(expected_orders) > 0 as is_needed, 0 as above
    from value.customer_lifetime
    union all
    select unnest(['p', 'q', 'v']), count(expected_amount) > 0, unnest([0, 1, 0])
    from value.customer_lifetime
)

select n.parameter, m.value
from needed as n
left join value.lifetime_model as m on m.parameter = n.parameter
where n.is_needed <> coalesce(m.value > n.above, false)
order by n.parameter
