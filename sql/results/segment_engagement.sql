-- How each segment answers messages: campaigns sent from here and past ones together, as features.engagement has them.
-- Counts add up over the segments of an axis; a share says of whom, and is null where that is nobody: nothing is known
-- of how those answer to whom nobody wrote. Profiles and e-mail copy are written from these figures.
-- grain: axis, segment_id
-- column axis: The axis the segment belongs to, stage or taste.
-- column segment_id: The segment; S0 and T0 are outside the clustering.
-- column customers: Customers in the segment.
-- column written_to_customers: Those who ever got a message by the as-of date.
-- column written_to_last_90_days_customers: Those who got one in the 90 days that end with the as-of date.
-- column messages_last_90_days: Messages in these 90 days.
-- column written_to_last_365_days_customers: Those whose last message is of the last 365 days.
-- column clicked_last_365_days_customers: Those of the latter who clicked in the last 365 days; only a person's clicks count for campaigns sent from here.
-- column fatigued_customers: Those of the same whose address the rule of delivery.send_rules would rest today.
-- column unsubscribed_customers: Those who ever got a message and refused further ones.
-- column written_to_share: Share of the customers who got a message in the last 90 days, 0 to 1; null where the shop knows of no message at all.
-- column messages_per_customer: Messages in the last 90 days per customer who got one then; null where nobody did.
-- column clicked_share: Share who clicked in the last 365 days, of those written to in these; null where nobody was.
-- column fatigued_share: Share who are fatigued, of the same; null where there is nobody.
-- column unsubscribed_share: Share who refused, of those ever written to; null where nobody was.
-- column overall_written_to_share: written_to_share of all customers.
-- column overall_messages_per_customer: messages_per_customer of all customers.
-- column overall_clicked_share: clicked_share of all customers.
-- column overall_fatigued_share: fatigued_share of all customers.
-- column overall_unsubscribed_share: unsubscribed_share of all customers.
with members as (
    select 'stage' as axis, stage_segment_id as segment_id, customer_id from segments.customer_segments
    union all
    select 'taste' as axis, taste_segment_id as segment_id, customer_id from segments.customer_segments
),

counted as (
    select
        m.axis,
        m.segment_id,
        count(*) as customers,
        count(*) filter (where e.days_since_message is not null) as written_to_customers,
        count(*) filter (where e.messages_last_90_days > 0) as written_to_last_90_days_customers,
        cast(coalesce(sum(e.messages_last_90_days), 0) as bigint) as messages_last_90_days,
        count(*) filter (where e.days_since_message < 365) as written_to_last_365_days_customers,
        count(*) filter (where e.days_since_message < 365 and e.clicks_last_365_days > 0)
            as clicked_last_365_days_customers,
        count(*) filter (where e.days_since_message < 365 and e.is_fatigued) as fatigued_customers,
        count(*) filter (where e.days_since_message is not null and e.is_unsubscribed) as unsubscribed_customers
    from members as m
    inner join features.engagement as e on e.customer_id = m.customer_id
    group by m.axis, m.segment_id
),

-- Every segment of the summary, also one without customers.
placed as (
    select
        s.axis,
        s.segment_id,
        coalesce(c.customers, 0) as customers,
        coalesce(c.written_to_customers, 0) as written_to_customers,
        coalesce(c.written_to_last_90_days_customers, 0) as written_to_last_90_days_customers,
        coalesce(c.messages_last_90_days, 0) as messages_last_90_days,
        coalesce(c.written_to_last_365_days_customers, 0) as written_to_last_365_days_customers,
        coalesce(c.clicked_last_365_days_customers, 0) as clicked_last_365_days_customers,
        coalesce(c.fatigued_customers, 0) as fatigued_customers,
        coalesce(c.unsubscribed_customers, 0) as unsubscribed_customers
    from segments.segment_summary as s
    left join counted as c on c.axis = s.axis and c.segment_id = s.segment_id
),

overall as (
    select
        axis,
        sum(customers) as customers,
        sum(written_to_customers) as written_to_customers,
        sum(written_to_last_90_days_customers) as written_to_last_90_days_customers,
        sum(messages_last_90_days) as messages_last_90_days,
        sum(written_to_last_365_days_customers) as written_to_last_365_days_customers,
        sum(clicked_last_365_days_customers) as clicked_last_365_days_customers,
        sum(fatigued_customers) as fatigued_customers,
        sum(unsubscribed_customers) as unsubscribed_customers
    from placed
    group by axis
)

select
    p.axis,
    p.segment_id,
    p.customers,
    p.written_to_customers,
    p.written_to_last_90_days_customers,
    p.messages_last_90_days,
    p.written_to_last_365_days_customers,
    p.clicked_last_365_days_customers,
    p.fatigued_customers,
    p.unsubscribed_customers,
    case
        when o.written_to_customers > 0
            then round(p.written_to_last_90_days_customers / nullif(p.customers, 0), 6)
    end as written_to_share,
    round(p.messages_last_90_days / nullif(p.written_to_last_90_days_customers, 0), 6) as messages_per_customer,
    round(p.clicked_last_365_days_customers / nullif(p.written_to_last_365_days_customers, 0), 6) as clicked_share,
    round(p.fatigued_customers / nullif(p.written_to_last_365_days_customers, 0), 6) as fatigued_share,
    round(p.unsubscribed_customers / nullif(p.written_to_customers, 0), 6) as unsubscribed_share,
    case
        when o.written_to_customers > 0
            then round(o.written_to_last_90_days_customers / nullif(o.customers, 0), 6)
    end as overall_written_to_share,
    round(o.messages_last_90_days / nullif(o.written_to_last_90_days_customers, 0), 6)
        as overall_messages_per_customer,
    round(o.clicked_last_365_days_customers / nullif(o.written_to_last_365_days_customers, 0), 6)
        as overall_clicked_share,
    round(o.fatigued_customers / nullif(o.written_to_last_365_days_customers, 0), 6) as overall_fatigued_share,
    round(o.unsubscribed_customers / nullif(o.written_to_customers, 0), 6) as overall_unsubscribed_share
from placed as p
inner join overall as o on o.axis = p.axis
order by p.axis, length(p.segment_id), p.segment_id
