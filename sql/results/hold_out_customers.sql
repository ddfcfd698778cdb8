-- Everybody who would have been in a campaign sent from here, beside those left out of all campaigns, with what they
-- did since. A customer counts in the arm and from the start of the first campaign with a hold-out that they were drawn
-- for: whether they are here depends on no message that one arm alone could get. Trials in which nobody is written to do
-- not count, nor do campaigns planned without a hold-out, before the setting or without it: their customers have nobody
-- beside them. A small campaign planned with one counts also where chance held nobody of it out; of campaigns whose
-- share was not kept, those count that held somebody out. Empty where the settings hold nobody out.
-- grain: customer_id
-- column arm: hold_out, or treated for all others, written to or not.
-- column entered_at: Start of the first campaign with a hold-out that the customer was drawn for (UTC).
-- column hold_out_share: Share of all customers held out when that campaign was planned; null where it was not kept.
-- column is_buyer: True with an order since then.
-- column order_count: Orders since then, until the last campaign's window ends.
-- column net_amount: Money of these orders after discounts, in the source's currency.
-- column margin_amount: Margin of their lines whose cost is known; null when the shop knows no cost at all.
with drawn as (
    select
        t.customer_id,
        t.arm = 'hold_out' as is_held_out,
        t.started_at as entered_at,
        c.hold_out_share
    from results.campaign_customers as t
    inner join results.measured_campaigns as c on c.campaign_id = t.campaign_id
    where c.origin = 'sent'
        and not c.is_aa
        and c.elapsed_share > 0
        and coalesce(c.hold_out_share > 0, c.hold_out_customers > 0)
    qualify row_number() over (partition by t.customer_id order by t.started_at, t.campaign_id) = 1
),

period as (
    select
        max(window_ends_at) as ends_at,
        sum(hold_out_customers) > 0 as has_hold_out
    from results.measured_campaigns
    where origin = 'sent'
        and not is_aa
        and elapsed_share > 0
),

shop as (
    select count(unit_cost) > 0 as has_costs from clean.products
),

bought as (
    select
        d.customer_id,
        count(distinct l.order_id) as order_count,
        sum(l.net_amount) as net_amount,
        sum(l.net_amount - cast(l.quantity as decimal(18, 3)) * p.unit_cost) as margin_amount
    from drawn as d
    cross join period
    inner join features.order_lines as l
        on l.customer_id = d.customer_id
        and l.ordered_at >= d.entered_at
        and l.ordered_at < period.ends_at
    left join clean.products as p on p.product_id = l.product_id
    group by d.customer_id
)

select
    d.customer_id,
    case when d.is_held_out then 'hold_out' else 'treated' end as arm,
    d.entered_at,
    d.hold_out_share,
    b.customer_id is not null as is_buyer,
    coalesce(b.order_count, 0) as order_count,
    cast(coalesce(b.net_amount, 0) as decimal(18, 4)) as net_amount,
    case when shop.has_costs then cast(round(coalesce(b.margin_amount, 0), 4) as decimal(18, 4)) end as margin_amount
from drawn as d
cross join period
cross join shop
left join bought as b on b.customer_id = d.customer_id
where period.has_hold_out
order by d.customer_id
