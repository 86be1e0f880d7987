//! [`file_caches`]: what DataFusion remembers of files, as long as somebody reads them.
//!
//! DataFusion keeps the metadata of each Parquet file that was read until all of them together reach a limit. The metadata of
//! a file that no table names any more would stay, and a table of many small INSERTs has thousands of such files in an
//! hour: each INSERT writes a file, which is merged with others soon.

use std::collections::HashMap as Times;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datafusion::common::{HashMap, TableReference};
use datafusion::execution::cache::cache_manager::{
    CacheManagerConfig, DEFAULT_FILE_STATISTICS_MEMORY_LIMIT, DEFAULT_METADATA_CACHE_LIMIT,
};
use datafusion::execution::cache::default_cache::DefaultCache;
use datafusion::execution::cache::{Cache, CacheEntryInfo, CacheKey, CacheValue};

use crate::error::Result;

/// What is known of a file is forgotten when nobody has asked for it for this long.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The caches of a process for what is known of files.
pub(crate) fn file_caches() -> CacheManagerConfig {
    CacheManagerConfig::default()
        .with_file_metadata_cache(Some(recent("metadata", DEFAULT_METADATA_CACHE_LIMIT)))
        .with_file_statistics_cache(Some(recent(
            "statistics",
            DEFAULT_FILE_STATISTICS_MEMORY_LIMIT,
        )))
        // A cached listing would hide new files.
        .with_list_files_cache_limit(0)
}

fn recent<K: CacheKey + 'static, V: CacheValue + 'static>(
    what: &str,
    bytes_max: usize,
) -> Arc<dyn Cache<K, V>> {
    let entries = DefaultCache::new(bytes_max).with_name(format!("recent file {what}"));
    Arc::new(Recent::new(entries, IDLE_MAX))
}

/// A cache that also drops entries that were not used for some time.
struct Recent<K: CacheKey, V: CacheValue> {
    entries: DefaultCache<K, V>,
    idle_max: Duration,
    uses: Mutex<Uses<K>>,
}

/// The uses of entries.
struct Uses<K> {
    /// The last use of each entry. An entry may be gone already, because the cache was full.
    last: Times<K, Instant>,
    /// When idle entries were looked for.
    swept_at: Instant,
}

impl<K: CacheKey, V: CacheValue> Recent<K, V> {
    fn new(entries: DefaultCache<K, V>, idle_max: Duration) -> Self {
        let uses = Uses {
            last: Times::new(),
            swept_at: Instant::now(),
        };
        Self {
            entries,
            idle_max,
            uses: Mutex::new(uses),
        }
    }

    fn get_at(&self, key: &K, now: Instant) -> Option<V> {
        self.change_uses(now, |last| {
            if let Some(last) = last.get_mut(key) {
                *last = now;
            }
        });
        self.entries.get(key)
    }

    fn put_at(&self, key: &K, value: V, now: Instant) -> Option<V> {
        self.change_uses(now, |last| {
            last.insert(key.clone(), now);
        });
        self.entries.put(key, value)
    }

    /// Notes a use, and drops the entries that were not used for too long. An entry that is used at this moment may be
    /// dropped too; it is read again then.
    fn change_uses(&self, now: Instant, change: impl FnOnce(&mut Times<K, Instant>)) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut uses.last);
        let age = |at: Instant| now.saturating_duration_since(at);
        if age(uses.swept_at) < self.idle_max / 5 {
            return;
        }
        uses.swept_at = now;
        let idle = uses.last.extract_if(|_, last| age(*last) >= self.idle_max);
        let idle: Vec<K> = idle.map(|(key, _)| key).collect();
        drop(uses);
        for key in idle {
            self.entries.remove(&key);
        }
    }
}

impl<K: CacheKey, V: CacheValue> Cache<K, V> for Recent<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.get_at(key, Instant::now())
    }

    fn put(&self, key: &K, value: V) -> Option<V> {
        self.put_at(key, value, Instant::now())
    }

    fn remove(&self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }

    fn contains_key(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn clear(&self) {
        self.entries.clear();
    }

    fn name(&self) -> String {
        self.entries.name()
    }

    fn cache_limit(&self) -> usize {
        self.entries.cache_limit()
    }

    fn update_cache_limit(&self, limit: usize) {
        self.entries.update_cache_limit(limit);
    }

    fn cache_ttl(&self) -> Option<Duration> {
        self.entries.cache_ttl()
    }

    fn update_cache_ttl(&self, ttl: Option<Duration>) {
        self.entries.update_cache_ttl(ttl);
    }

    fn drop_table_entries(&self, table: &TableReference) -> Result<()> {
        self.entries.drop_table_entries(table)
    }

    fn list_entries(&self) -> HashMap<K, CacheEntryInfo<V>> {
        self.entries.list_entries()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::runtime_env::RuntimeEnv;

    use super::*;
    use crate::Engine;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    struct File(u32);

    impl CacheKey for File {
        fn size(&self) -> usize {
            1
        }

        fn table_ref(&self) -> Option<&TableReference> {
            None
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Known(u32);

    impl CacheValue for Known {
        fn size(&self) -> usize {
            1
        }
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let cache = Recent::new(DefaultCache::new(1_000), IDLE_MAX);
        let mut now = Instant::now();
        for file in 0..1_000 {
            cache.put_at(&File(file), Known(file), now);
            assert_eq!(cache.get_at(&File(0), now), Some(Known(0)));
            now += IDLE_MAX / 100;
        }
        // The files of the last five to six minutes, and the file that is read all the time.
        assert!((101..=121).contains(&cache.len()), "{}", cache.len());
        assert_eq!(cache.get_at(&File(999), now), Some(Known(999)));
        assert_eq!(cache.get_at(&File(1), now), None);
        now += 2 * IDLE_MAX;
        assert_eq!(cache.get_at(&File(1_000), now), None);
        assert!(cache.is_empty());
        let uses = cache.uses.lock().unwrap();
        assert!(uses.last.is_empty());
    }

    #[test]
    fn a_full_cache_drops_what_was_used_least_recently() {
        let cache = Recent::new(DefaultCache::new(4), IDLE_MAX);
        for file in 0..3 {
            cache.put(&File(file), Known(file));
        }
        let left = [0, 1, 2].map(|file| cache.get(&File(file)));
        assert_eq!(left, [None, Some(Known(1)), Some(Known(2))]);
        assert_eq!(cache.remove(&File(1)), Some(Known(1)));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn an_engine_remembers_only_files_that_are_read() {
        let engine = Engine::builder().build().unwrap();
        let RuntimeEnv { cache_manager, .. } = engine.runtime_env().as_ref();
        let metadata = cache_manager.get_file_metadata_cache();
        assert_eq!(metadata.name(), "recent file metadata");
        assert_eq!(metadata.cache_limit(), DEFAULT_METADATA_CACHE_LIMIT);
        let statistics = cache_manager.get_file_statistic_cache().unwrap();
        assert_eq!(statistics.name(), "recent file statistics");
        assert!(cache_manager.get_list_files_cache().is_none());
    }
}
