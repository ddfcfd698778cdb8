-- A customer has one forecast, and no forecast is below zero.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look at lifetime/forecast.py for the named customer.
select customer_id, count(*) as copies, min(forecast_amount) as lowest
from value.spend_forecast
group by customer_id
having count(*) > 1
    or coalesce(min(forecast_amount) < 0, true)
    or coalesce(min(baseline_amount) < 0, true)
order by customer_id
