-- The control group is as large as the draw lets expect. Alarms when chance would do so in less than one of a million
-- plans: the bound of Chernoff and Hoeffding (1963) on a binomial share, n KL(observed, set) > ln(2,000,000).
-- group: business
-- severity: error
-- blocking: no
-- remedy: do not approve the campaign: the draw, or what decides before it, treats the groups differently.
with shares as (
    select
        campaign_id, control_customers, send_customers + control_customers as drawn, control_share as expected,
        control_customers / nullif(send_customers + control_customers, 0) as observed
    from delivery.campaign_plans
    where send_customers + control_customers > 0
)
select campaign_id, control_customers, drawn, expected
from shares
where case
    when expected <= 0 then control_customers > 0
    else drawn * (
        case when observed > 0 then observed * ln(observed / expected) else 0 end
        + case when observed < 1 then (1 - observed) * ln((1 - observed) / (1 - expected)) else 0 end
    ) > ln(2000000)
end
