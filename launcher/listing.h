// `ckpt list` and `ckpt stats`: what the store holds, and what its checkpoints cost.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launcher/application_status.h"
#include "launcher/lease_log.h"
#include "store/checkpoint_store.h"

namespace ckpt::launcher {

struct ApplicationSummary {
  std::string name;
  std::vector<store::VersionEntry> versions;
  std::vector<store::Tag> tags;
  std::vector<std::string> damaged;
  ApplicationStatus status;
  std::vector<std::string> command;
  std::string working_directory;

  std::uint64_t size_bytes() const;
};

ApplicationSummary summarize(const store::Application& application);

std::string list_table(const std::vector<ApplicationSummary>& applications, std::int64_t now_ns);
nlohmann::ordered_json list_json(const std::vector<ApplicationSummary>& applications);

std::string stats_table(const ApplicationSummary& application);
nlohmann::ordered_json stats_json(const ApplicationSummary& application);

// What became of its leases.
nlohmann::ordered_json leases_json(const std::vector<LeaseChange>& changes);
std::string leases_text(const std::vector<LeaseChange>& changes);

// Labels of a version.
std::vector<std::string> labels_of(const ApplicationSummary& application, store::Version version);
// The versions as a tree, one line each.
std::string versions_table(const ApplicationSummary& application, std::int64_t now_ns);
nlohmann::ordered_json versions_json(const ApplicationSummary& application);

// One version as it appears in the output of several commands.
nlohmann::ordered_json version_json(const store::VersionEntry& entry);
nlohmann::ordered_json application_json(const ApplicationSummary& application);

}  // namespace ckpt::launcher
