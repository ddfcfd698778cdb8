-- Every event of a message with the verdict whether a robot caused it, and by which rule. Nothing is dropped: raw
-- events stay as they were reported. Only opens and clicks are judged; the first rule that holds is named. How long
-- after sending an event came is no sign of a robot for clicks, and for opens only together with how the same proxy
-- behaves towards everybody.
-- head_request: asked with HEAD, which no reader does.
-- scanner_agent: the program says of itself that it is a scanner or a script, or says nothing.
-- proxy_click: an image proxy fetches images and follows no link; a click in its name is a script's.
-- link_burst: two different links of one message within a second, from whatever network.
-- link_sweep: three different links of one message within three seconds either way, or four within half a minute.
-- beside_robot: a link of a message within a minute of a burst or sweep through the same message by the same network.
-- with_pixel: the link and the pixel of a message within a second, from one network, without a proxy.
-- scanner_network: the link of an unopened message, from a network that follows links of many messages of which hardly
-- any had been opened before. Who opened a message before stays a person, whatever else comes from the same network.
-- prefetch: an open through a proxy right after sending, where that proxy fetches most messages right after sending.
-- scanner_open: the pixel within seconds of a robot's click of the same message by the same network, or within a second
-- of a burst from whatever network.
-- Thresholds are constants in the query; benchmarks/robots.py measures what they let through and what they take away.
-- grain: event_id
-- column send_id: The message.
-- column kind: delivered, open, click, unsubscribe, complaint, hard_bounce or soft_bounce.
-- column occurred_at: When it happened (UTC).
-- column link: Number of the clicked link; 0 is the offer's page.
-- column source: pixel, link, page, one_click, or the provider that reported it.
-- column method: HTTP method; empty for reports.
-- column user_agent: Family of the program that asked, never its whole name.
-- column network: Keyed hash of the network the request came from.
-- column is_robot: True for an open or click that a machine caused by itself; raw counts hold these too.
-- column robot_rule: The rule that says so; null for the others.
with events as (
    select
        e.*,
        s.finished_at as sent_at,
        e.user_agent in ('apple_mail_proxy', 'google_image_proxy', 'yahoo_proxy') as is_proxy,
        cast(1 as bigint) << cast(e.link % 60 as integer) as link_bit,
        case
            when e.kind not in ('open', 'click') then null
            when e.method = 'HEAD' then 'head_request'
            when e.user_agent in ('outlook_scanner', 'security_scanner', 'script')
                or (e.user_agent = 'none' and e.source in ('pixel', 'link'))
                then 'scanner_agent'
            when e.kind = 'click' and e.user_agent in ('apple_mail_proxy', 'google_image_proxy', 'yahoo_proxy')
                then 'proxy_click'
        end as own_rule
    from delivery.events as e
    left join delivery.sends as s on s.send_id = e.send_id
),

-- Clicks of one message, side by side. A second is taken short of its end, so that reports in whole seconds, a second
-- apart, are not one burst. Links are bits, because distinct values are costly to count in a window; beyond the 60th
-- they share bits, and fewer are counted than there are.
clicks as (
    select
        event_id,
        send_id,
        network,
        user_agent,
        occurred_at,
        own_rule,
        min(link) over second_around <> max(link) over second_around as is_burst,
        bit_count(bit_or(link_bit) over seconds_around) >= 3 or bit_count(bit_or(link_bit) over minute_around) >= 4
            as is_sweep
    from events
    where kind = 'click'
    window
        second_around as (
            partition by send_id order by occurred_at
            range between interval 999 milliseconds preceding and interval 999 milliseconds following
        ),
        seconds_around as (
            partition by send_id order by occurred_at
            range between interval 3 seconds preceding and interval 3 seconds following
        ),
        minute_around as (
            partition by send_id order by occurred_at
            range between interval 30 seconds preceding and interval 30 seconds following
        )
),

-- Pixel and link of one message from one network. A person looks at a message before following its link.
beside as (
    select
        event_id,
        min(kind) over second_around <> max(kind) over second_around as is_with_other
    from events
    where kind in ('open', 'click')
        and network <> ''
        and not is_proxy
    window
        second_around as (
            partition by send_id, network order by occurred_at
            range between interval 999 milliseconds preceding and interval 999 milliseconds following
        )
),

-- How a proxy treats the messages of a campaign: the first open of each message, and whether it came at once.
first_opens as (
    select
        campaign_id,
        user_agent,
        network,
        send_id,
        date_diff('second', any_value(sent_at), min(occurred_at)) <= 120 as is_at_once
    from events
    where kind = 'open'
        and is_proxy
        and own_rule is null
        and sent_at is not null
    group by campaign_id, user_agent, network, send_id
),

proxies as (
    select
        campaign_id,
        user_agent,
        network,
        count(*) as messages,
        count(*) filter (where is_at_once) as at_once
    from first_opens
    group by campaign_id, user_agent, network
),

-- A network with few messages is judged with the rest of its family.
prefetchers as (
    select
        campaign_id,
        user_agent,
        network,
        case
            when messages >= 20 then at_once / messages >= 0.5
            when sum(messages) over family >= 20 then sum(at_once) over family / sum(messages) over family >= 0.5
            else user_agent = 'apple_mail_proxy'
        end as is_prefetcher
    from proxies
    window family as (partition by campaign_id, user_agent)
),

judged_opens as (
    select
        e.event_id,
        e.send_id,
        e.network,
        e.occurred_at,
        e.is_proxy,
        case
            when e.own_rule is not null then e.own_rule
            when b.is_with_other then 'with_pixel'
            when p.is_prefetcher and date_diff('second', e.sent_at, e.occurred_at) <= 120 then 'prefetch'
        end as rule
    from events as e
    left join beside as b on b.event_id = e.event_id
    left join prefetchers as p
        on e.is_proxy
        and p.campaign_id = e.campaign_id
        and p.user_agent = e.user_agent
        and p.network = e.network
    where e.kind = 'open'
),

opened as (
    select send_id, min(occurred_at) as opened_at
    from judged_opens
    where rule is null
    group by send_id
),

judged_clicks as (
    select
        c.*,
        case
            when c.own_rule is not null then c.own_rule
            when c.is_burst then 'link_burst'
            when c.is_sweep then 'link_sweep'
            when b.is_with_other then 'with_pixel'
        end as rule,
        -- Whoever opens and clicks takes a moment between the two; a scanner that loads both does not.
        coalesce(o.opened_at <= c.occurred_at - interval 2 seconds, false) as is_after_open,
        count(*) filter (where c.is_burst or c.is_sweep) over (
            partition by c.send_id, c.network order by c.occurred_at
            range between interval 60 seconds preceding and interval 60 seconds following
        ) > 0 as is_beside_robot
    from clicks as c
    left join beside as b on b.event_id = c.event_id
    left join opened as o on o.send_id = c.send_id
),

-- Messages whose links a network followed, each once: by its first click from there. Those of programs that own up to
-- being scanners count too: they tell what the network is.
followed as (
    select
        network,
        send_id,
        min(occurred_at) as occurred_at,
        arg_min(is_after_open, occurred_at) as is_after_open
    from judged_clicks
    where network <> ''
    group by network, send_id
),

crowds as (
    select
        network,
        is_after_open,
        count(*) over (
            partition by network order by occurred_at
            range between interval 5 seconds preceding and interval 5 seconds following
        ) as messages_at_once,
        count(*) over (partition by network) as messages
    from followed
),

networks as (
    select
        network,
        count(*) filter (where is_after_open) / count(*) as opened_share,
        max(messages) as messages,
        max(messages_at_once) as most_at_once
    from crowds
    group by network
),

-- Where hardly anything is opened (pixels left out or blocked), that a message was not opened says nothing.
shop as (
    select
        (select count(*) from opened) >= 0.5 * (select count(distinct send_id) from clicks) as has_opens
),

scanner_networks as (
    select n.network
    from networks as n
    cross join shop
    where case
        when shop.has_opens then n.opened_share <= 0.1 and (n.messages >= 5 or n.most_at_once >= 3)
        else n.most_at_once >= 5
    end
),

robot_clicks as (
    select
        c.event_id,
        c.send_id,
        c.network,
        c.occurred_at,
        coalesce(
            c.rule,
            case when c.is_beside_robot and c.network <> '' then 'beside_robot' end,
            case when n.network is not null and not c.is_after_open then 'scanner_network' end
        ) as rule
    from judged_clicks as c
    left join scanner_networks as n on n.network = c.network
),

-- Windows rather than a join of opens with clicks: whoever asks for one message's links a thousand times would make that
-- a million pairs.
beside_clicks as (
    select
        event_id,
        kind,
        is_proxy,
        rule,
        (network <> '' and count(*) filter (where kind = 'click') over by_network > 0)
        or count(*) filter (where kind = 'click' and rule = 'link_burst') over by_message > 0 as is_beside_robot
    from (
        select event_id, send_id, network, occurred_at, 'open' as kind, is_proxy, rule from judged_opens
        union all
        select event_id, send_id, network, occurred_at, 'click' as kind, false as is_proxy, rule from robot_clicks
        where rule is not null
    ) as opens_and_robots
    window
        by_network as (
            partition by send_id, network order by occurred_at
            range between interval 10 seconds preceding and interval 10 seconds following
        ),
        by_message as (
            partition by send_id order by occurred_at
            range between interval 1 second preceding and interval 1 second following
        )
),

robot_opens as (
    select
        event_id,
        coalesce(rule, case when is_beside_robot and not is_proxy then 'scanner_open' end) as rule
    from beside_clicks
    where kind = 'open'
),

robots as (
    select event_id, rule from robot_clicks where rule is not null
    union all
    select event_id, rule from robot_opens where rule is not null
)

select
    e.event_id,
    e.send_id,
    e.campaign_id,
    e.customer_id,
    e.kind,
    e.occurred_at,
    e.link,
    e.source,
    e.method,
    e.user_agent,
    e.network,
    r.event_id is not null as is_robot,
    r.rule as robot_rule
from delivery.events as e
left join robots as r on r.event_id = e.event_id
order by e.event_id
