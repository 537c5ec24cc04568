//! Templates of PS3.16, one file each, as functions that give their content items.

mod image_library;

mod group_context;

mod finding_group;

mod slice_scores;

mod region_groups;

mod measurement_group;

mod attention;

mod measurement_report;

mod observation_context;

mod qualitative_evaluations;

pub(super) use measurement_group::undefined;
pub(super) use measurement_report::measurement_report;
