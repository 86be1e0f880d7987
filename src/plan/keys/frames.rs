//! [`with_frames`]: gives `OVER (ORDER BY x)` the frame of the SQL standard, `RANGE BETWEEN UNBOUNDED PRECEDING AND
//! CURRENT ROW`. DataFusion uses `ROWS` where it believes that `x` has no ties.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, NamedWindowExpr, Select, VisitMut, VisitorMut, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowSpec, WindowType,
};

/// Adds the standard frame to windows that have ORDER BY and no frame.
pub(crate) fn with_frames(part: &mut impl VisitMut) {
    let _ = part.visit(&mut Frames);
}

struct Frames;

impl VisitorMut for Frames {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = &mut window.1 {
                add_frame(window);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some(WindowType::WindowSpec(window)) = &mut function.over
        {
            add_frame(window);
        }
        ControlFlow::Continue(())
    }
}

fn add_frame(window: &mut WindowSpec) {
    if window.order_by.is_empty() || window.window_frame.is_some() {
        return;
    }
    window.window_frame = Some(WindowFrame {
        units: WindowFrameUnits::Range,
        start_bound: WindowFrameBound::Preceding(None),
        end_bound: Some(WindowFrameBound::CurrentRow),
    });
}
