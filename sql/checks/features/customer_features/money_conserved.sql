-- What a customer spent here is the sum of their sold lines, to the cent, and so is the number of lines. Those who opted
-- out of profiling are not here.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Compare the customer's lines in features.order_lines with how customer_features.sql adds them up.
with sold as (
    select customer_id, count(*) as line_count, coalesce(sum(net_amount), 0) as monetary_amount
    from features.order_lines
    where customer_id not in (select customer_id from features.profiling_opt_outs)
    group by customer_id
)

select
    s.customer_id,
    s.line_count as sold_lines,
    sum(f.line_count) as lines,
    s.monetary_amount as sold_amount,
    sum(f.monetary_amount) as monetary_amount
from sold as s
left join features.customer_features as f on f.customer_id = s.customer_id
group by s.customer_id, s.line_count, s.monetary_amount
having sum(f.line_count) is distinct from s.line_count
    or sum(f.monetary_amount) is distinct from s.monetary_amount
order by s.customer_id
