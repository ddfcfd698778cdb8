-- Every customer of every measured campaign with the arm they were assigned to and what they did in its window. Arms
-- are as assigned, whatever became of the message: bounced and unsent ones stay treated. Opens and clicks are a
-- person's for campaigns sent from here, and as the source reports them for past ones; whoever clicked has opened. What
-- a past campaign's source does not say (delivered, bounced) is null. Net amounts are before returns, like all revenue;
-- margin is net amount less unit cost times quantity, over lines whose cost is known.
-- grain: campaign_id, customer_id
-- column origin: sent, from here, or past, found in the source.
-- column is_experiment: True when customers were written to and others left out at random.
-- column arm: treated, control (left out of this campaign at random) or hold_out (left out of all).
-- column variant: Subject arm, A or B; null for those left out and for past campaigns.
-- column product_id: The first product of the customer's own message, or of the one they would have got; null for past campaigns.
-- column started_at: When the window begins for everybody (UTC).
-- column window_ends_at: When it ends (UTC).
-- column taste_segment_id: The taste segment when the campaign was planned; of a past campaign, or where that was not kept, null.
-- column stage_segment_id: The stage segment when the campaign was planned; of a past campaign, or where that was not kept, null.
-- column taste_segment_id_today: The taste segment as it is today; an order in the window may have moved the customer.
-- column recency_before: How long before the campaign the last order was; unlike today's stage, no campaign can change it.
-- column is_buyer: True with an order in the window.
-- column order_count: Orders in the window.
-- column net_amount: Money of these orders after discounts, in the source's currency.
-- column margin_amount: Margin of their lines whose cost is known; null when the shop knows no cost at all.
-- column lines_without_cost: Lines of these orders whose cost is not known; they add nothing to the margin.
-- column is_delivered: True when the message arrived, as far as anybody reported; null when that is not recorded.
-- column is_opened: True when a person opened or clicked, as far as that can be told.
-- column is_clicked: True when a person clicked.
-- column is_unsubscribed: True when the customer refused further messages through this one.
-- column is_complained: True when the customer reported the message as spam.
-- column is_bounced: True when the message came back; null when that is not recorded.
with shop as (
    select count(unit_cost) > 0 as has_costs from clean.products
),

orders as (
    select
        l.order_id,
        l.customer_id,
        min(l.ordered_at) as ordered_at,
        sum(l.net_amount) as net_amount,
        sum(l.net_amount - cast(l.quantity as decimal(18, 3)) * p.unit_cost) as margin_amount,
        count(*) filter (where p.unit_cost is null) as lines_without_cost
    from features.order_lines as l
    left join clean.products as p on p.product_id = l.product_id
    group by l.order_id, l.customer_id
),

events as (
    select
        e.send_id,
        bool_or(
            e.kind in ('delivered', 'unsubscribe', 'complaint') or (e.kind in ('open', 'click') and not e.is_robot)
        ) as has_arrived,
        bool_or(e.kind in ('open', 'click') and not e.is_robot) as is_opened,
        bool_or(e.kind = 'click' and not e.is_robot) as is_clicked,
        bool_or(e.kind = 'unsubscribe') as is_unsubscribed,
        bool_or(e.kind = 'complaint') as is_complained,
        bool_or(e.kind in ('hard_bounce', 'soft_bounce')) as has_bounced
    from delivery.labelled_events as e
    inner join results.measured_campaigns as c on c.campaign_id = e.campaign_id
    where e.occurred_at < c.window_ends_at
    group by e.send_id
),

responses as (
    select
        r.campaign_id,
        r.customer_id,
        bool_or(r.kind in ('open', 'click')) as is_opened,
        bool_or(r.kind = 'click') as is_clicked,
        bool_or(r.kind = 'unsubscribe') as is_unsubscribed,
        bool_or(r.kind = 'complaint') as is_complained
    from clean.campaign_responses as r
    inner join results.measured_campaigns as c on c.campaign_id = r.campaign_id and c.origin = 'past'
    where r.occurred_at is null
        or r.occurred_at < c.window_ends_at
    group by r.campaign_id, r.customer_id
),

assigned as (
    select
        s.campaign_id,
        s.customer_id,
        s.arm,
        nullif(s.variant, '') as variant,
        nullif(s.taste_segment_id, '') as taste_segment_id,
        nullif(s.stage_segment_id, '') as stage_segment_id,
        nullif(string_split(coalesce(nullif(s.product_ids, ''), d.product_ids, ''), ',')[1], '') as product_id,
        -- A delivery that is reported, or what only a reader does, outweighs a bounce of an earlier try.
        coalesce(e.has_arrived, false) or (s.status = 'sent' and not coalesce(e.has_bounced, false)) as is_delivered,
        coalesce(e.is_opened, false) as is_opened,
        coalesce(e.is_clicked, false) as is_clicked,
        coalesce(e.is_unsubscribed, false) as is_unsubscribed,
        coalesce(e.is_complained, false) as is_complained,
        coalesce(e.has_bounced and not e.has_arrived, false) as is_bounced
    from delivery.sends as s
    inner join delivery.campaigns as d on d.campaign_id = s.campaign_id
    left join events as e on e.send_id = s.send_id
    union all
    select
        t.campaign_id,
        t.customer_id,
        t.arm,
        cast(null as varchar) as variant,
        cast(null as varchar) as taste_segment_id,
        cast(null as varchar) as stage_segment_id,
        cast(null as varchar) as product_id,
        cast(null as boolean) as is_delivered,
        coalesce(r.is_opened, false) as is_opened,
        coalesce(r.is_clicked, false) as is_clicked,
        coalesce(r.is_unsubscribed, false) as is_unsubscribed,
        coalesce(r.is_complained, false) as is_complained,
        cast(null as boolean) as is_bounced
    from clean.campaign_contacts as t
    inner join results.measured_campaigns as c on c.campaign_id = t.campaign_id and c.origin = 'past'
    left join responses as r on r.campaign_id = t.campaign_id and r.customer_id = t.customer_id
),

bought as (
    select
        a.campaign_id,
        a.customer_id,
        max(o.ordered_at) filter (where o.ordered_at < c.started_at) as last_order_before_at,
        count(*) filter (where o.ordered_at >= c.started_at) as order_count,
        sum(o.net_amount) filter (where o.ordered_at >= c.started_at) as net_amount,
        sum(o.margin_amount) filter (where o.ordered_at >= c.started_at) as margin_amount,
        sum(o.lines_without_cost) filter (where o.ordered_at >= c.started_at) as lines_without_cost
    from assigned as a
    inner join results.measured_campaigns as c on c.campaign_id = a.campaign_id
    inner join orders as o on o.customer_id = a.customer_id and o.ordered_at < c.window_ends_at
    group by a.campaign_id, a.customer_id
)

select
    a.campaign_id,
    a.customer_id,
    c.origin,
    c.is_experiment,
    a.arm,
    a.variant,
    a.product_id,
    c.started_at,
    c.window_ends_at,
    a.taste_segment_id,
    a.stage_segment_id,
    g.taste_segment_id as taste_segment_id_today,
    case
        when b.last_order_before_at is null then 'no order before'
        when date_diff('day', b.last_order_before_at, c.started_at) <= 90 then 'ordered in the 90 days before'
        when date_diff('day', b.last_order_before_at, c.started_at) <= 365 then 'ordered 91 to 365 days before'
        else 'ordered over a year before'
    end as recency_before,
    coalesce(b.order_count, 0) > 0 as is_buyer,
    coalesce(b.order_count, 0) as order_count,
    cast(coalesce(b.net_amount, 0) as decimal(18, 4)) as net_amount,
    case when shop.has_costs then cast(round(coalesce(b.margin_amount, 0), 4) as decimal(18, 4)) end as margin_amount,
    cast(coalesce(b.lines_without_cost, 0) as bigint) as lines_without_cost,
    a.is_delivered,
    a.is_opened,
    a.is_clicked,
    a.is_unsubscribed,
    a.is_complained,
    a.is_bounced
from assigned as a
inner join results.measured_campaigns as c on c.campaign_id = a.campaign_id
cross join shop
left join bought as b on b.campaign_id = a.campaign_id and b.customer_id = a.customer_id
left join segments.customer_segments as g on g.customer_id = a.customer_id
order by a.campaign_id, a.customer_id
