-- Nobody gets a message, or a control's ghost of one, beyond the cap of messages within its days.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise delivery/sends, delivery/contact_history and delivery/plan, in this order.
select plan.customer_id, plan.decision, history.messages_in_cap, rules.cap_messages
from delivery.plan as plan
inner join delivery.contact_history as history on history.customer_id = plan.customer_id
cross join delivery.send_rules as rules
where plan.decision <> 'excluded' and history.messages_in_cap >= rules.cap_messages
