<?php
// Asks how many viewers there were, from PHP 8 with nothing but its standard library, as
// the description of viewer.log has it: encode the request, sign that text, put the
// signature into the request, encode it again, send it as the field json of a form. See
// README.md for KEY, SECRET, CDN and BROKER.
//
//   php viewer-log.php APP [URL] [GRAPH] [START]
declare(strict_types=1);

$broker = getenv('BROKER') ?: 'http://127.0.0.1:8000';
[$key, $secret, $cdn] = [getenv('KEY'), getenv('SECRET'), (int) getenv('CDN')];
if (!$key || !$secret || $argc < 2) {
    fwrite(STDERR, "KEY and SECRET must be an account's api_key and api_secret\nphp viewer-log.php APP [URL] [GRAPH] [START]\n");
    exit(2);
}

$request = ['command' => 'viewer.log', 'api_key' => $key, 'timestamp' => time(), 'cdn' => $cdn, 'app' => $argv[1], 'graph' => (int) ($argv[3] ?? 1)];
if (($argv[2] ?? '') !== '') {
    $request['url'] = $argv[2];
}
if (isset($argv[4])) {
    $request['starttime'] = $argv[4]; // UTC
}
$request['signature'] = base64_encode(hash_hmac('sha256', json_encode($request, JSON_THROW_ON_ERROR), $secret, true));
$json = json_encode($request, JSON_THROW_ON_ERROR);
if (getenv('PRINT')) {
    exit($json); // what would be sent
}

// A form as curl sends an array, or as a page sends its fields (FORM=urlencoded).
if (getenv('FORM') === 'urlencoded') {
    [$type, $body] = ['application/x-www-form-urlencoded', http_build_query(['json' => $json])];
} else {
    $boundary = '------------------------' . bin2hex(random_bytes(8));
    $type = "multipart/form-data; boundary=$boundary";
    $body = "--$boundary\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n$json\r\n--$boundary--\r\n";
}
$text = file_get_contents("$broker/stable/", false, stream_context_create(['http' => [
    'method' => 'POST', 'header' => "Content-Type: $type", 'content' => $body, 'timeout' => 30, 'ignore_errors' => true,
]]));
$answer = json_decode((string) $text, true);
if (($answer['status'] ?? '') !== 'success') {
    fwrite(STDERR, 'refused: ' . ($answer['code'] ?? '') . ' ' . ($answer['message'] ?? $text ?: 'no answer') . "\n");
    exit(1);
}
foreach ($answer['data'] as $row) {
    printf("%s  %s  %s  avg %d, min %d, max %d, sum of samples %d\n", $row['time'], $row['app'], $row['video_url'],
        $row['viewer_count_avg'], $row['viewer_count_min'], $row['viewer_count_max'], $row['viewer_count_sum']);
}
if (!$answer['data']) {
    echo $answer['message'], "\n";
}
