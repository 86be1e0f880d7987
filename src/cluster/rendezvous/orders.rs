//! [`Orders`]: the engine's orders to the model caches of executors. An order goes with the reply to each report until the
//! executor has answered it, or until nobody waits for it any more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::message::{NumberedOrder, OrderAnswer, OrderOutcome};
use crate::model::runtime::CacheOrder;

/// How an order to an executor ended.
#[derive(Debug)]
pub(in crate::cluster) enum OrderEnd {
    Answered(OrderOutcome),
    /// The executor is not there any more.
    Left,
    /// The executor is there, but does not report.
    Silent,
}

/// The orders of an engine, by id.
#[derive(Debug, Default)]
pub(super) struct Orders(Mutex<HashMap<String, Order>>);

#[derive(Debug)]
struct Order {
    executor: String,
    order: CacheOrder,
    outcome: Option<OrderOutcome>,
}

impl Orders {
    /// Gives an order to an executor. Dropping the result withdraws the order.
    pub(super) fn give(&self, executor: &str, order: CacheOrder) -> Given<'_> {
        let id = uuid::Uuid::new_v4().to_string();
        let order = Order {
            executor: executor.to_owned(),
            order,
            outcome: None,
        };
        self.lock().insert(id.clone(), order);
        Given { orders: self, id }
    }

    /// The orders that an executor has not answered.
    pub(super) fn unanswered_by(&self, executor: &str) -> Vec<NumberedOrder> {
        let orders = self.lock();
        let own = orders
            .iter()
            .filter(|(_, order)| order.executor == executor && order.outcome.is_none());
        own.map(|(id, order)| NumberedOrder {
            id: id.clone(),
            order: order.order.clone(),
        })
        .collect()
    }

    /// Takes the answers of an executor.
    pub(super) fn settle(&self, answers: Vec<OrderAnswer>) {
        let mut orders = self.lock();
        for OrderAnswer { id, outcome } in answers {
            // An order that was withdrawn is not awaited.
            if let Some(order) = orders.get_mut(&id) {
                order.outcome = Some(outcome);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Order>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An order that somebody waits for.
pub(super) struct Given<'a> {
    orders: &'a Orders,
    id: String,
}

impl Given<'_> {
    /// The executor's answer, once it is there. The order keeps it: without an answer, it would be given again.
    pub(super) fn outcome(&self) -> Option<OrderOutcome> {
        self.orders.lock().get(&self.id)?.outcome.clone()
    }
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        self.orders.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_order_is_given_until_it_is_answered() {
        let orders = Orders::default();
        let sha256s = HashSet::new();
        let given = orders.give("one", CacheOrder::Unload { sha256s });
        assert!(orders.unanswered_by("other").is_empty());
        assert!(given.outcome().is_none());
        let id = orders.unanswered_by("one").remove(0).id;
        let outcome = Ok(vec![]);
        let answer = OrderAnswer { id, outcome };
        orders.settle(vec![answer]);
        assert!(given.outcome().is_some());
        assert!(orders.unanswered_by("one").is_empty());
        drop(given);
        assert!(orders.lock().is_empty());
    }
}
