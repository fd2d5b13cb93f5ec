package madang;

import java.io.IOException;
import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * The brokers' side of MSK's IAM, for tests: takes a token for what it is, the base64 of a URL that is signed by
 * Signature Version 4 ("Authenticating requests: using query parameters"), and computes the signature again with the
 * one secret key that it knows. Everything in the URL has to be as MSK asks for it (aws/aws-msk-iam-auth, "Details").
 * Says in the broker's log what it took, and why not.
 */
public final class RoleTokens implements AuthenticateCallbackHandler {
    private static final Duration LONGEST = Duration.ofSeconds(900);
    private static final Duration SKEW = Duration.ofMinutes(5);
    private static final DateTimeFormatter TIME =
        DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);

    private static final List<String> PARAMETERS = List.of(
        "Action", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
        "X-Amz-Signature", "User-Agent");

    private String accessKeyId;
    private String secretAccessKey;
    private String region;
    private String principal;

    /** A token as the broker keeps it: its connection has to sign in again before the token ends. */
    private record Taken(String value, String principalName, long startMs, long lifetimeMs)
            implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }

        @Override
        public Long startTimeMs() {
            return startMs;
        }
    }

    /** Why a token is refused. */
    private static final class Refused extends Exception {
        private static final long serialVersionUID = 1;

        Refused(String reason) {
            super(reason);
        }
    }

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {
        Map<String, ?> options = entries.get(0).getOptions();
        accessKeyId = (String) options.get("accessKeyId");
        secretAccessKey = (String) options.get("secretAccessKey");
        region = (String) options.get("region");
        principal = (String) options.get("principal");
    }

    @Override
    public void handle(Callback[] callbacks) throws IOException, UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (!(callback instanceof OAuthBearerValidatorCallback asked)) {
                throw new UnsupportedCallbackException(callback);
            }
            try {
                asked.token(take(asked.tokenValue(), Instant.now()));
                System.err.println("madang: a token was taken");
            } catch (Refused | IllegalArgumentException | DateTimeException | GeneralSecurityException error) {
                System.err.println("madang: a token was refused: " + error.getMessage());
                asked.error("invalid_token", null, null);
            }
        }
    }

    @Override
    public void close() {}

    private OAuthBearerToken take(String token, Instant now) throws Refused, GeneralSecurityException {
        URI url = URI.create(new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8));
        String host = "kafka." + region + ".amazonaws.com";
        expect("the address", "https://" + host + "/", url.getScheme() + "://" + url.getRawAuthority() + url.getPath());
        Map<String, String> query = query(url.getRawQuery());
        for (String name : PARAMETERS) {
            if (!query.containsKey(name)) {
                throw new Refused(name + " is missing");
            }
        }
        String time = query.get("X-Amz-Date");
        Instant start = Instant.from(TIME.parse(time));
        String scope = time.substring(0, 8) + "/" + region + "/kafka-cluster/aws4_request";
        expect("the action", "kafka-cluster:Connect", query.get("Action"));
        expect("the algorithm", "AWS4-HMAC-SHA256", query.get("X-Amz-Algorithm"));
        expect("the credential", accessKeyId + "/" + scope, query.get("X-Amz-Credential"));
        expect("what is signed", "host", query.get("X-Amz-SignedHeaders"));
        Duration lifetime = Duration.ofSeconds(Long.parseLong(query.get("X-Amz-Expires")));
        if (lifetime.compareTo(LONGEST) > 0 || start.isAfter(now.plus(SKEW)) || !now.isBefore(start.plus(lifetime))) {
            throw new Refused("it is good for " + lifetime + " from " + start + ", and now is " + now);
        }
        String signature = query.get("X-Amz-Signature");
        byte[] expected = signature(host, query, time, scope).getBytes(StandardCharsets.US_ASCII);
        if (!MessageDigest.isEqual(expected, signature.getBytes(StandardCharsets.US_ASCII))) {
            throw new Refused("the signature is another one");
        }
        return new Taken(token, principal, start.toEpochMilli(), start.plus(lifetime).toEpochMilli());
    }

    private static void expect(String what, String expected, String found) throws Refused {
        if (!expected.equals(found)) {
            throw new Refused(what + " is " + found + ", not " + expected);
        }
    }

    /** The parameters by their names, which is the order in which they are signed. */
    private static Map<String, String> query(String text) throws Refused {
        Map<String, String> query = new TreeMap<>();
        for (String part : text.split("&")) {
            String[] pair = part.split("=", 2);
            if (pair.length < 2) {
                throw new Refused(part + " has no value");
            }
            if (query.put(pair[0], URLDecoder.decode(pair[1], StandardCharsets.UTF_8)) != null) {
                throw new Refused(pair[0] + " stands there twice");
            }
        }
        return query;
    }

    private String signature(String host, Map<String, String> query, String time, String scope)
            throws GeneralSecurityException {
        String signed = query.entrySet().stream()
            .filter(entry -> !Set.of("X-Amz-Signature", "User-Agent").contains(entry.getKey()))
            .map(entry -> encoded(entry.getKey()) + "=" + encoded(entry.getValue()))
            .collect(Collectors.joining("&"));
        String request = String.join("\n", "GET", "/", signed, "host:" + host, "", "host", hash(""));
        String text = String.join("\n", "AWS4-HMAC-SHA256", time, scope, hash(request));
        byte[] key = ("AWS4" + secretAccessKey).getBytes(StandardCharsets.UTF_8);
        for (String part : scope.split("/")) {
            key = keyed(key, part);
        }
        return HexFormat.of().formatHex(keyed(key, text));
    }

    private static String encoded(String text) {
        String form = URLEncoder.encode(text, StandardCharsets.UTF_8);
        return form.replace("+", "%20").replace("*", "%2A").replace("%7E", "~");
    }

    private static String hash(String text) throws GeneralSecurityException {
        byte[] bytes = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        return HexFormat.of().formatHex(bytes);
    }

    private static byte[] keyed(byte[] key, String text) throws GeneralSecurityException {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    }
}
