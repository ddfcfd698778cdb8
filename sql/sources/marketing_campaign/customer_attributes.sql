-- One row per customer: standard features first, then every further column of the file.
-- Purchases are counted by place (web, catalogue, store); purchases with a deal are among them, not beside them.
-- The two Z_ columns are the same for everybody. They are kept, so that the data profile can say so.
with
    campaign as (
        select
            * replace (
                MntWines::decimal(18, 4) as MntWines,
                MntFruits::decimal(18, 4) as MntFruits,
                MntMeatProducts::decimal(18, 4) as MntMeatProducts,
                MntFishProducts::decimal(18, 4) as MntFishProducts,
                MntSweetProducts::decimal(18, 4) as MntSweetProducts,
                MntGoldProds::decimal(18, 4) as MntGoldProds
            ),
            try_strptime(Dt_Customer, ['%Y-%m-%d', '%d-%m-%Y'])::date as signed_up_on,
            NumWebPurchases::bigint + NumCatalogPurchases::bigint + NumStorePurchases::bigint as purchases
        from read_csv(getvariable('campaign'), header = true, all_varchar = true)
    ),

    totals as (
        select
            *,
            MntWines + MntFruits + MntMeatProducts + MntFishProducts + MntSweetProducts + MntGoldProds as spent
        from campaign
    )

select
    ID as customer_id,
    Recency::double as recency_days,
    purchases::double as order_count,
    spent as monetary_amount,
    (spent / nullif(purchases, 0))::decimal(18, 4) as average_order_amount,
    date_diff('day', signed_up_on, max(signed_up_on) over ())::double as tenure_days,
    MntWines::double as wine,
    MntFruits::double as fruit,
    MntMeatProducts::double as meat,
    MntFishProducts::double as fish,
    MntSweetProducts::double as sweets,
    MntGoldProds::double as gold_products,
    NumDealsPurchases::bigint as num_deals_purchases,
    NumWebPurchases::bigint as num_web_purchases,
    NumCatalogPurchases::bigint as num_catalog_purchases,
    NumStorePurchases::bigint as num_store_purchases,
    NumWebVisitsMonth::bigint as num_web_visits_month,
    AcceptedCmp1::bigint as accepted_cmp_1,
    AcceptedCmp2::bigint as accepted_cmp_2,
    AcceptedCmp3::bigint as accepted_cmp_3,
    AcceptedCmp4::bigint as accepted_cmp_4,
    AcceptedCmp5::bigint as accepted_cmp_5,
    Complain::bigint as complain,
    Response::bigint as response,
    Z_CostContact::bigint as z_cost_contact,
    Z_Revenue::bigint as z_revenue
from totals
