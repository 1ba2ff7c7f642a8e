//! The engine's own functions, as sessions have them and as the nodes of a cluster do.

use super::checked;
use super::newest::NewestChange;
use datafusion::logical_expr::AggregateUDF;
use datafusion::prelude::SessionContext;

/// Gives a session its functions; checked ones take the place of DataFusion's.
pub(crate) fn register(context: &SessionContext) {
    for function in checked::aggregates() {
        context.register_udaf(function);
    }
    context.register_udaf(AggregateUDF::from(NewestChange::default()));
}

/// The same, and what finished plans call beside them.
pub(crate) fn register_all(context: &SessionContext) {
    register(context);
    for function in checked::operators() {
        context.register_udf(function);
    }
}
