-- One row per customer known by the as-of date (see features.reachability), with everything that describes them as of
-- that day: worth and place in the life cycle, what, when and at what price they buy, engagement, and what they said
-- about themselves. Nothing that happened after the as-of date enters. Where a customer has no sold order, a standard
-- figure the source gives ready-made in customer_attributes is used instead. Counts are 0 when nothing was recorded,
-- unknown numbers are null, unknown categories are the text unknown. Who does not want to be profiled is not in it
-- (features.profiling_opt_outs), and so in no segment, audience or suggestion; the shop's own totals still hold what they
-- bought. Protected attributes (gender, age, marital
-- status) are not in this table. Seasons are those of the northern hemisphere; shares are of sold lines unless said.
-- grain: customer_id
-- column is_buyer: True when the customer has a sold order, or the source says they ordered or spent something.
-- column recency_days: Days from the last order to the as-of date; 0 is that very day, null for who never bought.
-- column order_count: Sold orders.
-- column line_count: Sold lines.
-- column monetary_amount: Money spent after discounts, before returns, in the source's currency; 0 for who never bought.
-- column average_order_amount: Money spent per order, in the source's currency.
-- column tenure_days: Days from sign-up or first order, whichever came first, to the as-of date.
-- column first_order_on: Day of the first sold order.
-- column last_order_on: Day of the last sold order.
-- column days_between_orders: Mean days between consecutive orders; null below two orders.
-- column days_between_orders_deviation: Standard deviation of the days between consecutive orders; null below three orders.
-- column return_share: Units returned by the as-of date over units sold, 0 to 1.
-- column discount_share: Discount over gross money, 0 to 1.
-- column coupon_order_share: Share of orders placed with a coupon, 0 to 1.
-- column campaign_order_count: Orders placed during a campaign whose contact had reached the customer.
-- column campaign_order_share: Those orders over all orders, 0 to 1.
-- column price_level: Mean over the lines of unit price to the typical price of the category; 1 is typical.
-- column category_count: Different categories bought, the unknown one not counted.
-- column favourite_category: Category with the most lines (then most money, then by name); the stated preference when nothing known was bought.
-- column favourite_category_share: Share of lines in the favourite category, 0 to 1; null when it is only stated.
-- column favourite_brand: Brand with the most lines (then most money, then by name); the stated preference when nothing known was bought.
-- column favourite_brand_share: Share of lines of the favourite brand, 0 to 1; null when it is only stated.
-- column favourite_channel: Sales channel with the most lines (then most money, then by name).
-- column favourite_channel_share: Share of lines bought through the favourite channel, 0 to 1.
-- column category_shares: Share of lines by category, largest first; they sum to one, and the map is empty for who never bought.
-- column brand_shares: Share of lines by brand, the ten largest only, largest first; empty for who never bought.
-- column channel_shares: Share of lines by sales channel, largest first; they sum to one, and the map is empty for who never bought.
-- column spring_share: Share of lines bought in March to May, 0 to 1.
-- column summer_share: Share of lines bought in June to August, 0 to 1.
-- column autumn_share: Share of lines bought in September to November, 0 to 1.
-- column winter_share: Share of lines bought in December to February, 0 to 1.
-- column favourite_month: Month with the most lines, 1 to 12 (then most money, then the earlier month).
-- column week_of_month_1_share: Share of lines bought on days 1 to 7 of a month, 0 to 1.
-- column week_of_month_2_share: Share of lines bought on days 8 to 14 of a month, 0 to 1.
-- column week_of_month_3_share: Share of lines bought on days 15 to 21 of a month, 0 to 1.
-- column week_of_month_4_share: Share of lines bought on days 22 to 28 of a month, 0 to 1.
-- column week_of_month_5_share: Share of lines bought on days 29 to 31 of a month, 0 to 1.
-- column weekend_share: Share of lines bought on a Saturday or Sunday, 0 to 1.
-- column orders_last_90_days: Orders of the 90 days that end with the as-of date.
-- column monetary_last_90_days: Money spent in those 90 days after discounts, in the source's currency.
-- column never_bought: True when the customer is not a buyer.
-- column event_count: Things done on the site or in the app.
-- column view_count: Products viewed.
-- column add_to_cart_count: Products put into the cart.
-- column wishlist_count: Products put on the wish list.
-- column search_count: Searches.
-- column events_last_90_days: Things done on the site or in the app in the 90 days that end with the as-of date.
-- column days_since_event: Days from the last thing done on the site or in the app to the as-of date.
-- column campaigns_received: Past campaigns of the source (clean.campaign_contacts), of any channel, that contacted the customer (treated arm). Campaigns sent from here are not among them, for an earlier day can be shown from clean tables only: features.engagement counts both.
-- column campaign_open_count: Past campaigns of the source opened at least once.
-- column campaign_click_count: Past campaigns of the source clicked at least once.
-- column campaign_conversion_count: Past campaigns of the source that led to at least one conversion; held-out control customers do not count.
-- column campaign_response_share: Share of these past campaigns with an open, click or conversion as the source reports them, 0 to 1; null when none was received. Clicks of a person on messages sent from here are in features.engagement.
-- column education: Highest education; unknown when not known.
-- column education_rank: Education as a rank, 1 primary to 5 doctorate.
-- column employment_status: Employment status; unknown when not known.
-- column occupation: Occupation; unknown when not known.
-- column industry: Industry of work; unknown when not known.
-- column loyalty_tier: Loyalty tier; none for who is no member by the as-of date, unknown for a member without a tier.
-- column loyalty_points: Points on the loyalty account; 0 for who is no member.
-- column price_tier: Price level the customer says they prefer; unknown when not known.
-- column preferred_channel: Channel the customer prefers to be reached by; unknown when not known.
-- column acquisition_channel: How the customer was won; unknown when not known.
-- column country: Country of residence; unknown when not known.
-- column region: Region, state or sales territory; unknown when not known (the text NA is a value).
-- column email_consent: True when the customer agreed to marketing e-mail by the as-of date and has not withdrawn it.
-- column is_reachable: True with consent, a valid address no other customer has, and no minor.
with sensitive_categories as (
    select p.category
    from clean.products as p
    inner join features.product_guards as g on g.product_id = p.product_id
    where p.category is not null
    group by p.category
    having bool_and(g.is_sensitive)
),

orders as (
    select
        customer_id,
        order_id,
        min(ordered_on) as ordered_on,
        min(season) as season,
        min(month) as month,
        min(week_of_month) as week_of_month,
        bool_or(is_weekend) as is_weekend,
        bool_or(is_campaign) as is_campaign,
        bool_or(coupon_code is not null) as has_coupon,
        count(*) as lines,
        sum(quantity) as quantity,
        sum(returned_quantity) as returned_quantity,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(net_amount) as net_amount,
        -- Sums of decimals are exact in any order, sums of doubles are not.
        sum(cast(price_level as decimal(24, 6))) as price_level_sum,
        count(price_level) as price_level_lines
    from features.order_lines
    group by customer_id, order_id
),

spaced_orders as (
    select
        *,
        date_diff('day', lag(ordered_on) over (partition by customer_id order by ordered_on, order_id), ordered_on)
            as gap_days
    from orders
),

purchases as (
    select
        customer_id,
        count(*) as order_count,
        cast(sum(lines) as bigint) as line_count,
        sum(quantity) as quantity,
        sum(returned_quantity) as returned_quantity,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        cast(coalesce(sum(net_amount), 0) as decimal(18, 4)) as monetary_amount,
        min(ordered_on) as first_order_on,
        max(ordered_on) as last_order_on,
        count(gap_days) as gaps,
        cast(sum(gap_days) as bigint) as gap_sum,
        cast(sum(gap_days * gap_days) as bigint) as gap_square_sum,
        count(*) filter (where has_coupon) as coupon_orders,
        count(*) filter (where is_campaign) as campaign_orders,
        sum(price_level_sum) / nullif(sum(price_level_lines), 0) as price_level,
        coalesce(sum(lines) filter (where season = 'spring'), 0) as spring_lines,
        coalesce(sum(lines) filter (where season = 'summer'), 0) as summer_lines,
        coalesce(sum(lines) filter (where season = 'autumn'), 0) as autumn_lines,
        coalesce(sum(lines) filter (where season = 'winter'), 0) as winter_lines,
        coalesce(sum(lines) filter (where week_of_month = 1), 0) as week_1_lines,
        coalesce(sum(lines) filter (where week_of_month = 2), 0) as week_2_lines,
        coalesce(sum(lines) filter (where week_of_month = 3), 0) as week_3_lines,
        coalesce(sum(lines) filter (where week_of_month = 4), 0) as week_4_lines,
        coalesce(sum(lines) filter (where week_of_month = 5), 0) as week_5_lines,
        coalesce(sum(lines) filter (where is_weekend), 0) as weekend_lines,
        count(*) filter (where date_diff('day', ordered_on, cast($as_of as date)) < 90) as orders_last_90_days,
        cast(
            coalesce(sum(net_amount) filter (where date_diff('day', ordered_on, cast($as_of as date)) < 90), 0)
            as decimal(18, 4)
        ) as monetary_last_90_days
    from spaced_orders
    group by customer_id
),

months as (
    select
        customer_id,
        month,
        row_number() over (
            partition by customer_id order by sum(lines) desc, sum(net_amount) desc, month
        ) as place
    from orders
    group by customer_id, month
),

ranked_shares as (
    select
        customer_id,
        dimension,
        value,
        line_share,
        row_number() over (
            partition by customer_id, dimension order by line_count desc, net_amount desc, value
        ) as place
    from features.customer_shares
),

-- A known value is a favourite before the unknown one, however many lines the unknown one has: where the unknown
-- value comes first, the favourite is the second.
tastes as (
    select
        customer_id,
        dimension,
        count(*) filter (where value <> 'unknown') as known_values,
        coalesce(
            max(value) filter (where place = 1 and value <> 'unknown'), max(value) filter (where place = 2)
        ) as favourite,
        coalesce(
            max(line_share) filter (where place = 1 and value <> 'unknown'), max(line_share) filter (where place = 2)
        ) as favourite_share,
        map(
            list(value order by place) filter (where place <= 10 or dimension <> 'brand'),
            list(line_share order by place) filter (where place <= 10 or dimension <> 'brand')
        ) as shares
    from ranked_shares
    group by customer_id, dimension
),

events as (
    select
        customer_id,
        count(*) as event_count,
        count(*) filter (where action = 'view') as view_count,
        count(*) filter (where action = 'add_to_cart') as add_to_cart_count,
        count(*) filter (where action = 'wishlist') as wishlist_count,
        count(*) filter (where action = 'search') as search_count,
        count(*) filter (
            where date_diff('day', cast(occurred_at as date), cast($as_of as date)) < 90
        ) as events_last_90_days,
        max(cast(occurred_at as date)) as last_event_on
    from clean.product_events
    where cast(occurred_at as date) <= cast($as_of as date)
    group by customer_id
),

contacts as (
    select
        t.customer_id,
        t.campaign_id,
        t.arm = 'treated' as is_treated
    from clean.campaign_contacts as t
    inner join clean.campaigns as c on c.campaign_id = t.campaign_id
    where coalesce(cast(t.contacted_at as date), c.starts_on) <= cast($as_of as date)
),

responses as (
    select
        customer_id,
        campaign_id,
        bool_or(kind = 'open') as is_opened,
        bool_or(kind = 'click') as is_clicked,
        bool_or(kind = 'conversion') as is_converted
    from clean.campaign_responses
    where kind in ('open', 'click', 'conversion')
        and (occurred_at is null or cast(occurred_at as date) <= cast($as_of as date))
    group by customer_id, campaign_id
),

campaigns as (
    select
        coalesce(c.customer_id, r.customer_id) as customer_id,
        count(*) filter (where c.is_treated) as campaigns_received,
        count(*) filter (where r.is_opened) as campaign_open_count,
        count(*) filter (where r.is_clicked) as campaign_click_count,
        count(*) filter (where r.is_converted) as campaign_conversion_count,
        count(*) filter (where c.is_treated and r.customer_id is not null) as campaigns_answered
    from contacts as c
    full join responses as r on r.customer_id = c.customer_id and r.campaign_id = c.campaign_id
    where coalesce(c.is_treated, true)
    group by coalesce(c.customer_id, r.customer_id)
),

memberships as (
    select
        customer_id,
        coalesce(tier, 'unknown') as loyalty_tier,
        coalesce(points, 0) as loyalty_points
    from clean.loyalty_memberships
    where joined_on is null or joined_on <= cast($as_of as date)
),

given as (
    select
        customer_id,
        recency_days,
        cast(round(order_count) as bigint) as order_count,
        coalesce(monetary_amount, cast(round(average_order_amount * order_count, 4) as decimal(18, 4)))
            as monetary_amount,
        coalesce(
            average_order_amount,
            cast(round(monetary_amount / nullif(order_count, 0), 4) as decimal(18, 4))
        ) as average_order_amount,
        return_share,
        discount_share,
        tenure_days
    from clean.customer_attributes
)

select
    c.customer_id,
    coalesce(o.order_count, g.order_count, 0) > 0 or coalesce(o.monetary_amount, g.monetary_amount, 0) > 0
        as is_buyer,
    coalesce(cast(date_diff('day', o.last_order_on, cast($as_of as date)) as double), round(g.recency_days, 6))
        as recency_days,
    coalesce(o.order_count, g.order_count, 0) as order_count,
    coalesce(o.line_count, 0) as line_count,
    case
        when o.customer_id is not null then o.monetary_amount
        when g.monetary_amount is not null then g.monetary_amount
        when coalesce(g.order_count, 0) = 0 then cast(0 as decimal(18, 4))
    end as monetary_amount,
    case
        when o.customer_id is not null then cast(round(o.monetary_amount / o.order_count, 4) as decimal(18, 4))
        else g.average_order_amount
    end as average_order_amount,
    coalesce(
        cast(
            date_diff('day', least(cast(c.signed_up_at as date), o.first_order_on), cast($as_of as date)) as double
        ),
        round(g.tenure_days, 6)
    ) as tenure_days,
    o.first_order_on,
    o.last_order_on,
    round(o.gap_sum / nullif(o.gaps, 0), 6) as days_between_orders,
    case
        when o.gaps >= 2
            then round(sqrt((o.gaps * o.gap_square_sum - o.gap_sum * o.gap_sum) / (o.gaps * (o.gaps - 1))), 6)
    end as days_between_orders_deviation,
    round(
        case when o.customer_id is not null then o.returned_quantity / o.quantity else g.return_share end, 6
    ) as return_share,
    round(
        case
            when o.customer_id is not null then coalesce(o.discount_amount / nullif(o.gross_amount, 0), 0)
            else g.discount_share
        end,
        6
    ) as discount_share,
    round(o.coupon_orders / o.order_count, 6) as coupon_order_share,
    coalesce(o.campaign_orders, 0) as campaign_order_count,
    round(o.campaign_orders / o.order_count, 6) as campaign_order_share,
    round(o.price_level, 6) as price_level,
    coalesce(tc.known_values, 0) as category_count,
    coalesce(tc.favourite, case when sc.category is null then p.favourite_category end, 'unknown')
        as favourite_category,
    tc.favourite_share as favourite_category_share,
    coalesce(tb.favourite, p.favourite_brand, 'unknown') as favourite_brand,
    tb.favourite_share as favourite_brand_share,
    coalesce(th.favourite, 'unknown') as favourite_channel,
    th.favourite_share as favourite_channel_share,
    coalesce(tc.shares, cast(map() as map(varchar, double))) as category_shares,
    coalesce(tb.shares, cast(map() as map(varchar, double))) as brand_shares,
    coalesce(th.shares, cast(map() as map(varchar, double))) as channel_shares,
    round(o.spring_lines / o.line_count, 6) as spring_share,
    round(o.summer_lines / o.line_count, 6) as summer_share,
    round(o.autumn_lines / o.line_count, 6) as autumn_share,
    round(o.winter_lines / o.line_count, 6) as winter_share,
    m.month as favourite_month,
    round(o.week_1_lines / o.line_count, 6) as week_of_month_1_share,
    round(o.week_2_lines / o.line_count, 6) as week_of_month_2_share,
    round(o.week_3_lines / o.line_count, 6) as week_of_month_3_share,
    round(o.week_4_lines / o.line_count, 6) as week_of_month_4_share,
    round(o.week_5_lines / o.line_count, 6) as week_of_month_5_share,
    round(o.weekend_lines / o.line_count, 6) as weekend_share,
    coalesce(o.orders_last_90_days, 0) as orders_last_90_days,
    coalesce(o.monetary_last_90_days, 0) as monetary_last_90_days,
    not (coalesce(o.order_count, g.order_count, 0) > 0 or coalesce(o.monetary_amount, g.monetary_amount, 0) > 0)
        as never_bought,
    coalesce(e.event_count, 0) as event_count,
    coalesce(e.view_count, 0) as view_count,
    coalesce(e.add_to_cart_count, 0) as add_to_cart_count,
    coalesce(e.wishlist_count, 0) as wishlist_count,
    coalesce(e.search_count, 0) as search_count,
    coalesce(e.events_last_90_days, 0) as events_last_90_days,
    cast(date_diff('day', e.last_event_on, cast($as_of as date)) as double) as days_since_event,
    coalesce(k.campaigns_received, 0) as campaigns_received,
    coalesce(k.campaign_open_count, 0) as campaign_open_count,
    coalesce(k.campaign_click_count, 0) as campaign_click_count,
    coalesce(k.campaign_conversion_count, 0) as campaign_conversion_count,
    round(k.campaigns_answered / nullif(k.campaigns_received, 0), 6) as campaign_response_share,
    coalesce(d.education, 'unknown') as education,
    case d.education
        when 'primary' then 1
        when 'secondary' then 2
        when 'bachelor' then 3
        when 'master' then 4
        when 'doctorate' then 5
    end as education_rank,
    coalesce(d.employment_status, 'unknown') as employment_status,
    coalesce(d.occupation, 'unknown') as occupation,
    coalesce(d.industry, 'unknown') as industry,
    d.household_income,
    d.kids,
    d.teens,
    coalesce(l.loyalty_tier, 'none') as loyalty_tier,
    coalesce(l.loyalty_points, 0) as loyalty_points,
    coalesce(p.price_tier, 'unknown') as price_tier,
    p.discount_sensitivity,
    p.luxury_score,
    coalesce(p.preferred_channel, 'unknown') as preferred_channel,
    coalesce(c.acquisition_channel, 'unknown') as acquisition_channel,
    coalesce(c.country, 'unknown') as country,
    coalesce(c.region, 'unknown') as region,
    r.has_consent as email_consent,
    r.is_reachable
from features.reachability as r
inner join clean.customers as c on c.customer_id = r.customer_id
left join purchases as o on o.customer_id = r.customer_id
left join months as m on m.customer_id = r.customer_id and m.place = 1
left join tastes as tc on tc.customer_id = r.customer_id and tc.dimension = 'category'
left join tastes as tb on tb.customer_id = r.customer_id and tb.dimension = 'brand'
left join tastes as th on th.customer_id = r.customer_id and th.dimension = 'channel'
left join events as e on e.customer_id = r.customer_id
left join campaigns as k on k.customer_id = r.customer_id
left join given as g on g.customer_id = r.customer_id
left join clean.demographics as d on d.customer_id = r.customer_id
left join clean.preferences as p on p.customer_id = r.customer_id
left join sensitive_categories as sc on sc.category = p.favourite_category
left join memberships as l on l.customer_id = r.customer_id
where not r.is_opted_out
order by r.customer_id
