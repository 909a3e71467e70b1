package dev.trivet.hub;

/** Hears how a pull goes; called on the pulling thread. */
public interface HubListener {
    /** One line on what is done. */
    void note(String line);

    /**
     * Bytes of a file on disk so far. The first call for a file tells what an earlier, broken download left.
     *
     * @param total at least 1
     */
    void progress(String file, long done, long total);
}
