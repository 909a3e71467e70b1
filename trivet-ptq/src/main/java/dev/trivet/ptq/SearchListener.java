package dev.trivet.ptq;

/** Hears how a search gets on. Called from worker threads, one call at a time. */
public interface SearchListener {
    /** Hears nothing. */
    SearchListener SILENT = (stage, done, total) -> {};

    /**
     * @param stage what is being done, for a person to read
     * @param done images done over all passes
     * @param total images over all passes, at most: operators that converge early save some
     */
    void progress(String stage, long done, long total);
}
