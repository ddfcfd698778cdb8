-- What each customer was sent of late, as far as it decides about the next message. The cap and the rest look back from
-- the day after the as-of date, on which this plan's campaigns start. For the cap a place in a campaign counts, whatever
-- came of it: messages that left or wait, ghosts of those left out, and what failed, expired or was skipped. Otherwise
-- those whose message failed would be written to again, and those left out of the same campaign would not. Who is
-- rested is told by messages that left alone. Campaigns of the present plan are kept apart, so that planning again while
-- they are sent decides the same.
-- grain: customer_id
-- column messages_in_cap: Places in earlier campaigns within the cap's days before the plan's first day.
-- column last_message_at: When the last message of an earlier campaign was sent (UTC); null for none.
-- column messages_since_click: Messages of earlier campaigns sent since the customer's last click by hand.
-- column last_click_at: When the customer last clicked by hand (UTC); null for never.
-- column present_campaign_id: The campaign of this plan in which the customer has a place already.
-- column present_messages: Places in campaigns of this plan.
with present as (
    select brief_id as campaign_id from campaigns.briefs
),

counted as (
    select
        s.customer_id,
        s.campaign_id,
        s.status,
        s.finished_at,
        cast(coalesce(
            -- What came too late counts from its campaign's start, as the ghosts beside it do.
            case when s.status <> 'expired' then s.finished_at end,
            -- What still waits may leave on any day until the campaign ends, whenever that began.
            case
                when s.status in ('pending', 'claimed') and c.status = 'sending'
                    and c.not_after > cast(cast($as_of as date) + 1 as timestamp)
                    then greatest(c.starts_at, cast(cast($as_of as date) + 1 as timestamp))
            end,
            c.starts_at,
            cast($as_of as timestamp)
        ) as date) as counts_on,
        s.campaign_id in (select campaign_id from present) as is_present
    from delivery.sends as s
    left join delivery.campaigns as c on c.campaign_id = s.campaign_id
),

clicks as (
    select customer_id, max(occurred_at) as last_click_at
    from delivery.labelled_events
    where kind = 'click' and not is_robot
    group by customer_id
)

select
    counted.customer_id,
    count(*) filter (
        not counted.is_present and counted.counts_on > cast($as_of as date) + 1 - cast(rules.cap_days as integer)
    ) as messages_in_cap,
    max(counted.finished_at) filter (not counted.is_present and counted.status in ('sent', 'uncertain'))
        as last_message_at,
    count(*) filter (
        not counted.is_present and counted.status = 'sent'
        and (clicks.last_click_at is null or counted.finished_at > clicks.last_click_at)
    ) as messages_since_click,
    any_value(clicks.last_click_at) as last_click_at,
    coalesce(
        max(counted.campaign_id) filter (counted.is_present and counted.status not in ('failed', 'expired', 'skipped')),
        max(counted.campaign_id) filter (counted.is_present)
    ) as present_campaign_id,
    count(*) filter (counted.is_present) as present_messages
from counted
cross join delivery.send_rules as rules
left join clicks on clicks.customer_id = counted.customer_id
group by counted.customer_id
order by counted.customer_id
