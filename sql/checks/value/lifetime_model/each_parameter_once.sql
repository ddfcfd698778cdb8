-- Each parameter has one row, with a value or a text that says why there is none.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Make value/lifetime_model again; a parameter was written twice or without anything.
select parameter, count(*) as copies
from value.lifetime_model
group by parameter
having count(*) > 1
    or parameter is null
    or bool_or(value is null and text is null)
order by parameter
