#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "store/application_files.h"
#include "store/checkpoint_store.h"
#include "store/writer_memory.h"

namespace ckpt::store {

class ApplicationDirectory final : public Application {
 public:
  explicit ApplicationDirectory(std::shared_ptr<const ApplicationFiles> files) : files_(std::move(files)) {}

  const std::string& name() const override { return files_->name(); }
  std::string path() const override { return files_->path(); }
  int directory() const override { return files_->directory(); }
  std::vector<VersionEntry> versions() const override;
  std::vector<std::string> damaged() const override;
  using Application::open;
  std::unique_ptr<CheckpointReader> open(Version version, std::shared_ptr<TableCache> tables) const override;
  VerifyReport verify(const std::vector<Version>& versions) const override;
  void remove_leftovers() override;
  using Application::begin;
  std::unique_ptr<CheckpointWriter> begin(Version parent, Base base, const WriteOptions& options) override;
  void spare_memory() override { spares_memory_ = true; }
  bool share(const Application& origin, Version version) override;
  void remove(Version version) override;
  std::vector<Version> retain(const Retention& retention, const std::string& current_run_id) override;
  std::vector<Tag> tags() const override;
  void tag(Version version, const std::string& label) override;
  void untag(const std::string& label) override;
  Reclaimed reclaim() override;

 private:
  struct Readable {
    Manifest manifest;
    std::uint64_t segment_bytes = 0;
  };
  std::vector<Readable> read_all(std::vector<std::string>* damaged) const;
  std::vector<Tag> tags_of(const ApplicationListing& listing) const;
  Error unknown(Version version) const;
  void hide(Version version);
  void remove_unreferenced();

  std::shared_ptr<const ApplicationFiles> files_;
  std::shared_ptr<WriterMemory> memory_;  // made by the first writer
  bool spares_memory_ = false;
};

}  // namespace ckpt::store
