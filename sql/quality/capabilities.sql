-- What the data can support: one row per capability, on or off, with the numbers that decided it. A stage whose
-- capability is off writes its tables empty; nothing is guessed.
-- grain: one row per capability
-- column capability: What the rest of the graph may do.
-- column is_on: True when the data support it.
-- column reason: The numbers that decided it, in a sentence.
with customers_known as (
    select
        count(*) as customers,
        count(*) filter (where email_consent) as consenting
    from clean.customers
),

order_totals as (
    select
        customer_id,
        count(*) as orders,
        count(distinct cast(ordered_at as date)) as days,
        min(cast(ordered_at as date)) as first_on
    from clean.orders
    where status in ('completed', 'shipped', 'processing')
    group by customer_id
),

buyers as (
    select
        count(*) as buyers,
        coalesce(sum(orders), 0) as orders,
        count(*) filter (where days > 1) as repeat_buyers,
        coalesce(date_diff('day', min(first_on), $as_of), 0) as window_days
    from order_totals
),

all_orders as (
    select
        count(*) as orders,
        count(coupon_code) as coupon_orders
    from clean.orders
),

lines as (
    select
        count(*) as lines,
        count(i.product_id) as product_lines,
        count(p.category) as category_lines,
        count(distinct p.category) as categories,
        count(distinct p.product_id) as products,
        count(*) filter (where i.discount_amount > 0) as discount_lines,
        count(coalesce(i.line_amount, i.unit_price)) as priced_lines
    from clean.order_items as i
    inner join clean.orders as o on i.order_id = o.order_id
    left join clean.products as p on i.product_id = p.product_id
    where o.status in ('completed', 'shipped', 'processing')
),

catalogue as (
    select
        count(*) as products,
        count(*) filter (where unit_cost is not null and list_price is not null) as costed
    from clean.products
),

stock as (
    select
        count(*) as counts,
        count(distinct product_id) as products
    from clean.inventory
),

return_totals as (select count(*) as returns from clean.returns),

arm_totals as (
    select
        campaign_id,
        count(*) filter (where arm = 'treated') as treated,
        count(*) filter (where arm = 'control') as control
    from clean.campaign_contacts
    group by campaign_id
),

arms as (
    select
        count(*) as campaigns,
        count(*) filter (where treated >= 50 and control >= 50) as experiments,
        coalesce(sum(treated), 0) as treated,
        coalesce(sum(control), 0) as control
    from arm_totals
),

responses as (select count(*) as responses from clean.campaign_responses),

events as (
    select
        count(*) as events,
        count(distinct customer_id) as customers
    from clean.product_events
),

review_totals as (
    select
        count(*) as reviews,
        count(rating) as ratings
    from clean.reviews
),

contacts as (
    select
        count(*) as contacts,
        count(*) filter (where f.has_valid_email) as valid_emails,
        count(*) filter (where f.is_email_shared) as shared_emails,
        count(*) filter (where f.has_valid_email and c.email_consent) as mailable
    from clean.contact_flags as f
    inner join clean.customers as c on f.customer_id = c.customer_id
),

household as (select count(*) as customers from clean.demographics),

stated as (select count(*) as customers from clean.preferences),

members as (select count(*) as customers from clean.loyalty_memberships),

attributes as (
    select
        count(*) as customers,
        count(coalesce(recency_days, order_count, cast(monetary_amount as double))) as with_values
    from clean.customer_attributes
),

decided as (
    select
        1 as place,
        'orders' as capability,
        b.orders > 0 as is_on,
        format('{:,} of {:,} orders count as sales, from {:,} customers.', b.orders, a.orders, b.buyers) as reason
    from buyers as b
    cross join all_orders as a
    union all
    select
        2,
        'products',
        c.products > 0 and l.product_lines > 0,
        format(
            '{:,} products in the catalogue; {:,} of {:,} sold lines name one.', c.products, l.product_lines, l.lines
        )
    from catalogue as c
    cross join lines as l
    union all
    select
        3,
        'categories',
        l.categories >= 2 and 2 * l.category_lines >= l.lines,
        format(
            '{:,} of {:,} sold lines have a known category, {:,} categories in all (needed: half of the lines, '
            || 'two categories).',
            l.category_lines, l.lines, l.categories
        )
    from lines as l
    union all
    select
        4,
        'matching',
        l.products >= 2 and b.buyers >= 50,
        format(
            '{:,} products of the catalogue were sold to {:,} buyers (needed: 2 products, 50 buyers).',
            l.products, b.buyers
        )
    from lines as l
    cross join buyers as b
    union all
    select
        5,
        'inventory',
        s.counts > 0,
        format('{:,} stock counts for {:,} products.', s.counts, s.products)
    from stock as s
    union all
    select
        6,
        'margins',
        c.products > 0 and 2 * c.costed >= c.products,
        format('{:,} of {:,} products have a cost and a list price (needed: half).', c.costed, c.products)
    from catalogue as c
    union all
    select
        7,
        'discounts',
        l.discount_lines > 0 or a.coupon_orders > 0,
        format('{:,} sold lines have a discount and {:,} orders a coupon.', l.discount_lines, a.coupon_orders)
    from lines as l
    cross join all_orders as a
    union all
    select
        8,
        'returns',
        r.returns > 0,
        format('{:,} returns are recorded.', r.returns)
    from return_totals as r
    union all
    select
        9,
        'lifetime',
        b.buyers >= 200 and b.repeat_buyers >= greatest(50, 0.05 * b.buyers) and b.window_days >= 90,
        format(
            '{:,} buyers, {:,} of them bought again on another day, in {:,} days (needed: 200, 50 and 5 % of them, 90).',
            b.buyers, b.repeat_buyers, b.window_days
        )
    from buyers as b
    union all
    select
        10,
        'campaign_history',
        a.experiments > 0,
        format(
            '{:,} campaigns reached {:,} customers and held out {:,}; {:,} have at least 50 in each arm (needed: 1).',
            a.campaigns, a.treated, a.control, a.experiments
        )
    from arms as a
    union all
    select
        11,
        'campaign_responses',
        r.responses > 0,
        format('{:,} responses to campaigns are recorded.', r.responses)
    from responses as r
    union all
    select
        12,
        'events',
        e.events > 0,
        format('{:,} product events of {:,} customers.', e.events, e.customers)
    from events as e
    union all
    select
        13,
        'reviews',
        r.reviews > 0,
        format('{:,} reviews, {:,} of them with a rating.', r.reviews, r.ratings)
    from review_totals as r
    union all
    select
        14,
        'contacts',
        k.contacts > 0,
        format('{:,} of {:,} customers have contact details.', k.contacts, c.customers)
    from contacts as k
    cross join customers_known as c
    union all
    select
        15,
        'email',
        k.mailable > 0,
        format(
            '{:,} customers have a valid address ({:,} of them share it) and {:,} of those gave consent.',
            k.valid_emails, k.shared_emails, k.mailable
        )
    from contacts as k
    union all
    select
        16,
        'demographics',
        h.customers > 0,
        format('{:,} of {:,} customers have demographics.', h.customers, c.customers)
    from household as h
    cross join customers_known as c
    union all
    select
        17,
        'preferences',
        s.customers > 0,
        format('{:,} of {:,} customers have preferences.', s.customers, c.customers)
    from stated as s
    cross join customers_known as c
    union all
    select
        18,
        'loyalty',
        m.customers > 0,
        format('{:,} of {:,} customers are members.', m.customers, c.customers)
    from members as m
    cross join customers_known as c
    union all
    select
        19,
        'attributes',
        a.customers > 0,
        format(
            '{:,} of {:,} customers have ready-made attributes, {:,} of them recency, orders or money.',
            a.customers, c.customers, a.with_values
        )
    from attributes as a
    cross join customers_known as c
)

select
    d.capability,
    d.is_on,
    d.reason || case
        when d.is_on then ''
        when d.capability = 'orders' and not contains(s.provided_tables, 'orders') then ' The source gives no orders.'
        else ''
    end as reason
from decided as d
cross join raw.source as s
order by d.place
