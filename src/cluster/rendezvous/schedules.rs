//! Thousands of schedules of an epoch.
