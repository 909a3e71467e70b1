package dev.trivet.image;

/** What is wrong with an image's bytes; {@link ImageDecoder} adds the name. */
final class MalformedImageException extends Exception {
    private static final long serialVersionUID = 1L;

    static final String COPY_AGAIN = "copy or download it again";

    private final String remedy;

    MalformedImageException(String problem) {
        this(problem, COPY_AGAIN);
    }

    MalformedImageException(String problem, String remedy) {
        super(problem);
        this.remedy = remedy;
    }

    String remedy() {
        return remedy;
    }

    /** The file ends before its pixels do. */
    static MalformedImageException truncated() {
        return new MalformedImageException("is truncated");
    }
}
