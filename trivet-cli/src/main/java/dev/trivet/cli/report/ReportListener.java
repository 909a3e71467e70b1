package dev.trivet.cli.report;

/** Hears how far a report is; called from worker threads. */
@FunctionalInterface
public interface ReportListener {
    void progress(String stage, long done, long total);
}
