-- How each customer answers messages, and whether they have had enough: campaigns sent from here and past ones of any
-- channel together. Only a person's clicks count for campaigns sent from here; for past ones those the source reports.
-- Opens are left out: machines open too. The customers are those of features.reachability who may be profiled, and
-- nothing after the as-of date is known here.
-- grain: customer_id
-- column messages_last_90_days: Messages to the customer in the 90 days that end with the as-of date.
-- column clicks_last_90_days: Messages they clicked in these 90 days.
-- column clicks_last_365_days: Messages they clicked in the last 365 days.
-- column days_since_message: Days since the last message; null for none.
-- column days_since_click: Days since the last click; null for never.
-- column messages_since_click: Messages since the last click, or ever where they never clicked: many mean fatigue.
-- column is_fatigued: True where the rule that rests an address holds today: rest_after_messages or more since the last click, the last of them less than rest_days ago (delivery.send_rules).
-- column is_unsubscribed: True when the customer unsubscribed or complained through a message or past campaign by the as-of date.
with messages as (
    select customer_id, finished_at as sent_at
    from delivery.sends
    where status in ('sent', 'uncertain')
        and finished_at < cast(cast($as_of as date) + 1 as timestamp)
    union all
    select t.customer_id, coalesce(t.contacted_at, cast(c.starts_on as timestamp)) as sent_at
    from clean.campaign_contacts as t
    inner join clean.campaigns as c on c.campaign_id = t.campaign_id
    where t.arm = 'treated'
        and coalesce(t.contacted_at, cast(c.starts_on as timestamp)) < cast(cast($as_of as date) + 1 as timestamp)
        -- What was sent from here is known better here.
        and t.campaign_id not in (select campaign_id from delivery.sends)
),

-- A message is clicked once, however often.
clicks as (
    select customer_id, campaign_id, max(occurred_at) as clicked_at
    from (
        select customer_id, campaign_id, occurred_at
        from delivery.labelled_events
        where kind = 'click'
            and not is_robot
        union all
        select customer_id, campaign_id, occurred_at
        from clean.campaign_responses
        where kind = 'click'
            and campaign_id not in (select campaign_id from delivery.sends)
    ) as both_origins
    where occurred_at < cast(cast($as_of as date) + 1 as timestamp)
    group by customer_id, campaign_id
),

refused as (
    select customer_id
    from delivery.labelled_events
    where kind in ('unsubscribe', 'complaint')
        and occurred_at < cast(cast($as_of as date) + 1 as timestamp)
    union
    select customer_id
    from clean.campaign_responses
    where kind in ('unsubscribe', 'complaint')
        and (occurred_at is null or occurred_at < cast(cast($as_of as date) + 1 as timestamp))
        -- A refusal of nobody known would leave it open for everybody whether they refused.
        and customer_id is not null
),

clicked as (
    select
        customer_id,
        max(clicked_at) as last_click_at,
        count(*) filter (where date_diff('day', cast(clicked_at as date), cast($as_of as date)) < 90)
            as clicks_last_90_days,
        count(*) filter (where date_diff('day', cast(clicked_at as date), cast($as_of as date)) < 365)
            as clicks_last_365_days
    from clicks
    group by customer_id
),

written_to as (
    select
        m.customer_id,
        max(m.sent_at) as last_message_at,
        count(*) filter (where date_diff('day', cast(m.sent_at as date), cast($as_of as date)) < 90)
            as messages_last_90_days,
        count(*) filter (where c.last_click_at is null or m.sent_at > c.last_click_at) as messages_since_click
    from messages as m
    left join clicked as c on c.customer_id = m.customer_id
    group by m.customer_id
)

select
    k.customer_id,
    coalesce(w.messages_last_90_days, 0) as messages_last_90_days,
    coalesce(c.clicks_last_90_days, 0) as clicks_last_90_days,
    coalesce(c.clicks_last_365_days, 0) as clicks_last_365_days,
    date_diff('day', cast(w.last_message_at as date), cast($as_of as date)) as days_since_message,
    date_diff('day', cast(c.last_click_at as date), cast($as_of as date)) as days_since_click,
    coalesce(w.messages_since_click, 0) as messages_since_click,
    coalesce(
        w.messages_since_click >= r.rest_after_messages
        and date_diff('day', cast(w.last_message_at as date), cast($as_of as date)) < r.rest_days,
        false
    ) as is_fatigued,
    k.customer_id in (select customer_id from refused) as is_unsubscribed
from features.reachability as k
cross join delivery.send_rules as r
left join written_to as w on w.customer_id = k.customer_id
left join clicked as c on c.customer_id = k.customer_id
where not k.is_opted_out
order by k.customer_id
