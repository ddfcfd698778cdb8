-- Every campaign that reached or left out a customer, sent from here or found in the source, with the window in which
-- orders count. The window is one for everybody: it begins when the campaign does, not when a message left, so that
-- those left out can be compared. One that was begun later than planned begins when it was put into the outbox, with
-- everybody who was left out: else days before any message would count as its effect. A past campaign lasts to its last day; one without takes the setting's days. A
-- campaign is an experiment where somebody was left out at random: in the source that is its arm `control`.
-- grain: campaign_id
-- column origin: sent, from here, or past, found in the source.
-- column started_at: When the window begins for everybody (UTC).
-- column window_ends_at: When it ends (UTC); orders before that moment count.
-- column elapsed_share: Share of the window that the data cover, 0 to 1; below 1 a result is an early look.
-- column is_experiment: True when customers were written to and others left out at random; what is compared without is association.
-- column is_aa: True for a trial in which nobody is written to.
-- column primary_metric: What it is judged by, fixed when it was approved; null for past campaigns.
-- column control_share: Planned share left out of treated and control; null where no plan is known.
-- column hold_out_share: Share of all customers that was left out of all campaigns when this one was planned; null where it was not kept.
-- column treated_customers: Customers who were assigned to be written to.
-- column control_customers: Customers who were left out of this campaign at random.
-- column hold_out_customers: Customers who are left out of all campaigns.
-- column sent_customers: Customers to whom a message left; for past campaigns those with a contact's date.
with sent as (
    select
        campaign_id,
        count(*) filter (where arm = 'treated') as treated_customers,
        count(*) filter (where arm = 'control') as control_customers,
        count(*) filter (where arm = 'hold_out') as hold_out_customers,
        count(*) filter (where arm = 'treated' and status in ('sent', 'uncertain')) as sent_customers,
        -- Ghosts are finished when the outbox is filled, before any message leaves.
        min(finished_at) as begun_at
    from delivery.sends
    group by campaign_id
),

past as (
    select
        campaign_id,
        count(*) filter (where arm = 'treated') as treated_customers,
        count(*) filter (where arm = 'control') as control_customers,
        count(*) filter (where arm = 'treated' and contacted_at is not null) as sent_customers
    from clean.campaign_contacts
    group by campaign_id
),

campaigns as (
    select
        s.campaign_id,
        c.name,
        'sent' as origin,
        greatest(c.starts_at, s.begun_at) as started_at,
        greatest(c.starts_at, s.begun_at) + to_days(cast(c.window_days as integer)) as window_ends_at,
        c.is_aa,
        c.primary_metric,
        nullif(c.control_share, 0) as control_share,
        c.hold_out_share,
        s.treated_customers,
        s.control_customers,
        s.hold_out_customers,
        s.sent_customers
    from sent as s
    inner join delivery.campaigns as c on c.campaign_id = s.campaign_id
    union all
    select
        p.campaign_id,
        c.name,
        'past' as origin,
        cast(c.starts_on as timestamp) as started_at,
        -- Cleaning keeps no campaign that ends before it starts.
        coalesce(cast(c.ends_on + 1 as timestamp), cast(c.starts_on + cast(r.window_days as integer) as timestamp))
            as window_ends_at,
        false as is_aa,
        cast(null as varchar) as primary_metric,
        cast(null as double) as control_share,
        cast(null as double) as hold_out_share,
        p.treated_customers,
        p.control_customers,
        0 as hold_out_customers,
        p.sent_customers
    from past as p
    inner join clean.campaigns as c on c.campaign_id = p.campaign_id
    cross join results.measurement_rules as r
    -- A source that tells later of what was sent from here does not make two campaigns of it.
    where p.campaign_id not in (select campaign_id from sent)
)

select
    campaign_id,
    name,
    origin,
    started_at,
    window_ends_at,
    round(
        least(
            greatest(
                date_diff('second', started_at, cast(cast($as_of as date) + 1 as timestamp))
                / date_diff('second', started_at, window_ends_at),
                0
            ),
            1
        ),
        6
    ) as elapsed_share,
    treated_customers > 0 and control_customers > 0 as is_experiment,
    is_aa,
    primary_metric,
    control_share,
    hold_out_share,
    treated_customers,
    control_customers,
    hold_out_customers,
    sent_customers
from campaigns
order by started_at, campaign_id
