-- One row per sold line: lines of orders that count as sales (completed, shipped, processing) and were placed on or
-- before the as-of date, with money net of discounts, the season, and the campaign that reached the customer, if any.
-- Amounts: when the source gives a line amount it wins over quantity times price, and gross is that amount plus the
-- discount; so gross - discount = net on every line. Returns are counted by the day they came back (one without a day
-- counts at once) and do not reduce net_amount. An order may fall into several campaigns: the latest contact before
-- the order is taken, then the smaller campaign id. A campaign without a last day is taken to last 30 days.
-- Order status, prices and categories are those of the source today: it does not say what they were.
-- grain: order_item_id
-- column ordered_on: Day of the order (UTC).
-- column channel: Sales channel of the order; unknown when the source does not say.
-- column category: Category of the product; unknown when the line has no product or the product no category.
-- column subcategory: Subcategory of the product; unknown when not given.
-- column brand: Brand of the product; unknown when not given.
-- column is_sensitive: True for goods of a sensitive category, which never enter taste, names, copy or an offer.
-- column quantity: Units sold on the line.
-- column unit_price: Price per unit before the discount, in the source's currency; gross_amount over quantity where the source gives the line amount.
-- column gross_amount: Money for the line before its discount, in the source's currency (net_amount + discount_amount).
-- column discount_amount: Discount on the whole line, in the source's currency; 0 when none is given.
-- column discount_share: Discount over gross amount, 0 to 1; null when the gross amount is 0.
-- column net_amount: Money for the line after its discount, in the source's currency; what every revenue figure is summed from.
-- column price_level: Unit price over the typical price of the category, which is the median over its sold products of the list price (the average price paid where there is none); 1 is typical.
-- column season: Season by meteorological months of the northern hemisphere (spring is March to May).
-- column month: Month of the order, 1 to 12.
-- column week_of_month: Week of the month, 1 to 5 (days 1-7 are week 1).
-- column is_weekend: True when the order was placed on a Saturday or Sunday (UTC).
-- column campaign_id: The campaign that reached the customer before the order and was running then; null when none.
-- column is_campaign: True when the order was placed during a campaign whose treated contact had reached the customer.
-- column returned_quantity: Units of the line returned by the as-of date, never more than were sold.
-- column returned_amount: The part of net_amount that came back, in proportion to the units returned.
with sales as (
    select
        order_id,
        customer_id,
        store_id,
        ordered_at,
        cast(ordered_at as date) as ordered_on,
        coalesce(channel, 'unknown') as channel,
        coupon_code
    from clean.orders
    where status in ('completed', 'shipped', 'processing')
        and cast(ordered_at as date) <= cast($as_of as date)
),

amounts as (
    select
        order_item_id,
        order_id,
        product_id,
        quantity,
        unit_price,
        line_amount is not null as is_amount_given,
        coalesce(discount_amount, 0) as discount_amount,
        coalesce(
            line_amount,
            cast(round(cast(quantity as decimal(38, 3)) * unit_price - coalesce(discount_amount, 0), 4) as decimal(18, 4))
        ) as net_amount
    from clean.order_items
),

lines as (
    select
        a.order_item_id,
        a.order_id,
        a.product_id,
        a.quantity,
        case
            when a.is_amount_given
                then cast(round((a.net_amount + a.discount_amount) / a.quantity, 4) as decimal(18, 4))
            else a.unit_price
        end as unit_price,
        a.discount_amount,
        a.net_amount,
        s.customer_id,
        s.store_id,
        s.ordered_at,
        s.ordered_on,
        s.channel,
        s.coupon_code
    from amounts as a
    inner join sales as s on s.order_id = a.order_id
),

product_prices as (
    select
        product_id,
        sum(net_amount + discount_amount) / nullif(sum(quantity), 0) as paid_price
    from lines
    group by product_id
),

typical_prices as (
    select
        coalesce(p.category, 'unknown') as category,
        nullif(median(coalesce(cast(p.list_price as double), q.paid_price)), 0) as typical_price
    from product_prices as q
    left join clean.products as p on p.product_id = q.product_id
    group by coalesce(p.category, 'unknown')
),

returned as (
    select
        order_item_id,
        sum(quantity) as quantity,
        bool_or(quantity is null) as is_whole_line
    from clean.returns
    where returned_at is null or cast(returned_at as date) <= cast($as_of as date)
    group by order_item_id
),

reached as (
    select
        t.customer_id,
        t.campaign_id,
        coalesce(t.contacted_at, cast(c.starts_on as timestamp)) as contacted_at,
        c.starts_on,
        coalesce(c.ends_on, c.starts_on + 30) as ends_on
    from clean.campaign_contacts as t
    inner join clean.campaigns as c on c.campaign_id = t.campaign_id
    where t.arm = 'treated'
),

campaigns_by_order as (
    select
        s.order_id,
        r.campaign_id,
        row_number() over (partition by s.order_id order by r.contacted_at desc, r.campaign_id) as place
    from sales as s
    inner join reached as r
        on r.customer_id = s.customer_id
        and r.contacted_at <= s.ordered_at
        and s.ordered_on between r.starts_on and r.ends_on
),

priced as (
    select
        l.*,
        coalesce(p.category, 'unknown') as category,
        coalesce(p.subcategory, 'unknown') as subcategory,
        coalesce(p.brand, 'unknown') as brand,
        p.list_price,
        coalesce(g.is_sensitive, false) as is_sensitive,
        case
            when r.order_item_id is null then 0
            when r.is_whole_line then l.quantity
            else least(r.quantity, l.quantity)
        end as returned_quantity
    from lines as l
    left join clean.products as p on p.product_id = l.product_id
    left join features.product_guards as g on g.product_id = l.product_id
    left join returned as r on r.order_item_id = l.order_item_id
)

select
    l.order_item_id,
    l.order_id,
    l.customer_id,
    l.product_id,
    l.store_id,
    l.ordered_at,
    l.ordered_on,
    l.channel,
    l.category,
    l.subcategory,
    l.brand,
    l.is_sensitive,
    l.quantity,
    l.unit_price,
    cast(l.net_amount + l.discount_amount as decimal(18, 4)) as gross_amount,
    cast(l.discount_amount as decimal(18, 4)) as discount_amount,
    round(l.discount_amount / nullif(l.net_amount + l.discount_amount, 0), 6) as discount_share,
    cast(l.net_amount as decimal(18, 4)) as net_amount,
    l.list_price,
    round(l.unit_price / t.typical_price, 6) as price_level,
    case
        when month(l.ordered_on) in (3, 4, 5) then 'spring'
        when month(l.ordered_on) in (6, 7, 8) then 'summer'
        when month(l.ordered_on) in (9, 10, 11) then 'autumn'
        else 'winter'
    end as season,
    cast(month(l.ordered_on) as integer) as month,
    cast((day(l.ordered_on) - 1) // 7 + 1 as integer) as week_of_month,
    -- 1900-01-01 was a Monday; counting from it means the same in every SQL dialect, unlike day-of-week functions.
    date_diff('day', date '1900-01-01', l.ordered_on) % 7 >= 5 as is_weekend,
    l.coupon_code,
    c.campaign_id,
    c.campaign_id is not null as is_campaign,
    cast(l.returned_quantity as decimal(18, 3)) as returned_quantity,
    case
        when l.returned_quantity = l.quantity then cast(l.net_amount as decimal(18, 4))
        else cast(round(cast(l.net_amount as decimal(38, 4)) * l.returned_quantity / l.quantity, 4) as decimal(18, 4))
    end as returned_amount
from priced as l
left join typical_prices as t on t.category = l.category
left join campaigns_by_order as c on c.order_id = l.order_id and c.place = 1
