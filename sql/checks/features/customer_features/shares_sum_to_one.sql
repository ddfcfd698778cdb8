-- The shares of seasons, weeks of the month, categories and channels each sum to one for whoever has sold lines, and the
-- ten largest brands to no more than one.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Look at the customer's rows in features.customer_shares and at the seasons of their lines in features.order_lines.
select
    customer_id,
    spring_share + summer_share + autumn_share + winter_share as season_total,
    week_of_month_1_share + week_of_month_2_share + week_of_month_3_share + week_of_month_4_share
        + week_of_month_5_share as week_total,
    list_sum(map_values(category_shares)) as category_total,
    list_sum(map_values(channel_shares)) as channel_total,
    list_sum(map_values(brand_shares)) as brand_total
from features.customer_features
where line_count > 0
    and not coalesce(
        abs(spring_share + summer_share + autumn_share + winter_share - 1) <= 0.00001
        and abs(
            week_of_month_1_share + week_of_month_2_share + week_of_month_3_share + week_of_month_4_share
            + week_of_month_5_share - 1
        ) <= 0.00001
        and abs(list_sum(map_values(category_shares)) - 1) <= 0.00001
        and abs(list_sum(map_values(channel_shares)) - 1) <= 0.00001
        and list_sum(map_values(brand_shares)) <= 1.00001,
        false
    )
order by customer_id
